"""Reject symbolic links, pipes and devices in run directories: a run would follow them or wait for them."""

import stat
from collections.abc import Iterable
from pathlib import Path

from dive.errors import RunError


def require_plain_files(paths: Iterable[Path], directory: Path) -> None:
    """Check that a run or sweep that is resumed writes to its own files only.

    Args:
        paths: the files and folders to check.
        directory: the run or sweep directory that contains them.

    Raises:
        RunError: one of them is a symbolic link, to whose target the run would write, or a pipe or device.
    """
    for path in paths:
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            kind = "a symbolic link" if stat.S_ISLNK(mode) else "not a regular file"
            raise RunError(f"{path} is {kind}; {directory} may contain only files and folders")


def require_plain_run(directory: Path) -> None:
    """Check all files of a run directory as `require_plain_files` does."""
    require_plain_files(sorted(directory.rglob("*")), directory)
