"""Files that are put in place as a whole: nobody ever reads half of one."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from dive.errors import RunError

IMAGE_SUFFIXES = (".png", ".pdf", ".svg")  # endings of those that are drawn


def atomic_write(path: Path, content: str | bytes | memoryview, durable: bool = False) -> None:
    """Write a file beside its place, then move it there.

    Args:
        path: replaced where it exists; its folder must exist.
        content: text (as UTF-8) or bytes.
        durable: wait until it is on the disk, so that it outlives a crash of the whole machine.

    Raises:
        OSError: the disk is full, say; it names `path`, where all is as it was, and nothing is left beside it.
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
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        _flush_folder(path.parent)


def check_writable(path: Path, endings: Sequence[str] = ()) -> None:
    """Refuse, before the work is done, a path at which its outcome could not be written.

    Args:
        path: of a file to be.
        endings: one of which its name must have; empty allows any.

    Raises:
        RunError: its folder does not exist, or its name ends otherwise.
    """
    if not path.absolute().parent.is_dir():
        raise RunError(f"{path}: its folder does not exist")
    if path.is_dir():
        raise RunError(f"{path}: is a folder")
    if endings and path.suffix not in endings:
        raise RunError(f"{path}: must end in {', '.join(endings)}")


def _flush_folder(folder: Path) -> None:
    # Its entries, too, may not be on the disk yet: the name would be lost, or still be that of the old file.
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def remove_temp_files(folder: Path) -> None:
    """Remove what `atomic_write` left half-written when its process was killed; nobody may be writing there now."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
