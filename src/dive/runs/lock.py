"""The lock of a run or sweep directory, held by the one process that may write there."""

from pathlib import Path

from filelock import FileLock, Timeout

LOCK_FILE = ".lock"


def is_locked(directory: Path) -> bool:
    """Whether a process is currently working in a run or sweep directory."""
    if not (directory / LOCK_FILE).exists():
        return False
    try:
        with FileLock(directory / LOCK_FILE, blocking=False):
            return False
    except Timeout:
        return True
