"""The directory of a run or of a sweep is worked on by one process at a time: that one holds the lock in it."""

from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"


def is_running(directory: Path) -> bool:
    """Whether some process is working on the run or the sweep in a directory just now."""
    if not (directory / LOCK).exists():
        return False
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False
