"""Download, repair or import the Fashion-MNIST files; they are verified before they are written."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock

from dive.data import archive_files
from dive.data.download import download
from dive.errors import DataError
from dive.runs.atomic_io import atomic_write

log = logging.getLogger(__name__)


def ensure_downloaded(folder: Path, mirror: str | None, timeout: float) -> dict[str, bytes]:
    """Make sure that the folder has all four files: download missing ones, repair damaged ones.

    A damaged unpacked file is restored from its archive if that is valid. Several processes may call this at the
    same time: one downloads, the others wait for it.

    Args:
        folder: created if it does not exist.
        mirror: base URL of the archives; None downloads nothing.
        timeout: seconds to wait for the next byte; see `dive.data.download.download`.

    Returns:
        The verified contents by name, so that callers need not read and verify them again.

    Raises:
        DataError: a file is not available; the message names the cause, the folder and what to do.
    """
    contents = {}
    for name in archive_files.SHA256:
        content, damaged = archive_files.read_verified(folder, name)
        if content is not None:
            contents[name] = content
            if damaged:
                _repair(damaged[0], content)
    if missing := [name for name in archive_files.SHA256 if name not in contents]:
        with _locked(folder):
            contents |= {name: _read_or_download(folder, name, mirror, timeout) for name in missing}
    return contents


def _repair(path: Path, content: bytes) -> None:
    try:
        atomic_write(path, content)
        log.warning("%s was damaged; restored it from %s.gz", path, path.name)
    except OSError as error:
        log.warning(
            "%s is damaged and cannot be replaced (%s); using %s.gz instead", path, error.strerror, path.name
        )


def _read_or_download(folder: Path, name: str, mirror: str | None, timeout: float) -> bytes:
    content, damaged = archive_files.read_verified(folder, name)
    if content is not None:
        return content  # another process downloaded it while this one waited for the lock
    if mirror is None:
        problem = archive_files.describe_problem(folder, name, damaged)
        hint = "A recorded run does not choose the server; to download from one: data.mirror=URL."
        raise DataError(f"{problem} {hint} {archive_files.HELP}")
    try:
        content = _write(
            folder, name, download(f"{mirror.rstrip('/')}/{name}.gz", timeout, archive_files.MAX_BYTES)
        )
    except DataError as error:
        problem = archive_files.describe_problem(folder, name, damaged)
        raise DataError(f"{problem} The download failed: {error}. {archive_files.HELP}") from error
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}. {archive_files.HELP}") from error
    log.info("downloaded %s.gz from %s", name, mirror)
    return content


def import_files(source: Path, folder: Path) -> None:
    """Copy the four archives from a local folder, verify and unpack them.

    Raises:
        DataError: an archive is missing or not the published one; nothing of it is written.
    """
    with _locked(folder):
        for name in archive_files.SHA256:
            path = source / f"{name}.gz"
            if not path.is_file():
                raise DataError(f"{path} does not exist; --from needs the folder that holds the four .gz archives")
            try:
                _write(folder, name, path.read_bytes())
            except OSError as error:
                raise DataError(f"cannot import {path} into {folder}: {error.strerror}") from error
            except DataError as error:
                raise DataError(f"{path}: {error}") from error


def _locked(folder: Path) -> AbstractContextManager[object]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / ".lock").acquire()  # released on exit
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}. {archive_files.HELP}") from error


def _write(folder: Path, name: str, archive: bytes) -> bytes:
    content = archive_files.verify_checksum(name, archive)
    atomic_write(folder / f"{name}.gz", archive)
    atomic_write(folder / name, content)
    return content
