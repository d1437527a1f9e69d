"""The directory of a run or of a sweep is worked on by one process at a time: that one holds the lock in it."""

from pathlib import Path

from filelock import FileLock, Timeout

LOCK_FILE = ".lock"


def is_locked(directory: Path) -> bool:
    """Whether some process is working on the run or the sweep in a directory just now."""
    if not (directory / LOCK_FILE).exists():
        return False
    lock = FileLock(directory / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False
