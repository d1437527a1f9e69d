"""Symbolic links in the directories of runs and sweeps, through which a run would write elsewhere."""

import os
from pathlib import Path

from dive.errors import RunError


def require_no_links(directory: Path) -> None:
    """Check that a run or sweep that is resumed writes to its own files only.

    Raises:
        RunError: the directory contains a symbolic link; the resumed run would write to its target.
    """
    for folder, folders, files in os.walk(directory):
        if link := next((name for name in sorted([*folders, *files]) if (Path(folder) / name).is_symlink()), None):
            raise RunError(f"{Path(folder) / link} is a symbolic link; a run directory must not contain any")
