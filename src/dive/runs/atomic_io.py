"""Atomic file writes: readers see the old or the new content, never a part of it."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from dive.errors import RunError

IMAGE_SUFFIXES = (".png", ".pdf", ".svg")


def atomic_write(path: Path, content: str | bytes | memoryview, durable: bool = False) -> None:
    """Write text (as UTF-8) or bytes to a temporary file in the same directory, which must exist, and rename it.

    Args:
        path: the file, replaced if it exists.
        content: its new content.
        durable: flush file and directory to disk, so that the content survives a crash of the machine.

    Raises:
        OSError: the write failed; the error names `path`, which is unchanged. No temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    if durable and os.name == "posix":  # the directory entry must reach the disk as well
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Check an output path before the work is done; empty `suffixes` allow any.

    Raises:
        RunError: its directory does not exist, it is a directory itself, or its suffix is not allowed.
    """
    if not path.absolute().parent.is_dir():
        raise RunError(f"{path}: its directory does not exist")
    if path.is_dir():
        raise RunError(f"{path}: is a directory")
    if suffixes and path.suffix not in suffixes:
        raise RunError(f"{path}: must end in {', '.join(suffixes)}")


def remove_temp_files(folder: Path) -> None:
    """Remove temporary files that killed processes left; no process may be writing to the folder."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
