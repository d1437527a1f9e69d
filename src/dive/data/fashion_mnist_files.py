"""Fashion-MNIST brought into its folder: downloaded, repaired, imported; checked before it is put in place."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from dive.data import archive_files
from dive.data.download import download
from dive.errors import DataError
from dive.runs.atomic_io import atomic_write

log = logging.getLogger(__name__)


def ensure_downloaded(folder: Path, mirror: str, timeout: float) -> dict[str, bytes]:
    """Have all four files in the folder: download what is missing, repair what is damaged.

    A damaged unpacked file is written again from its archive where that is sound. Several processes may call this
    at once: one downloads, the others wait for it.

    Args:
        folder: made where it does not exist.
        mirror: the address below which the archives are.
        timeout: seconds to wait for the next byte; see `dive.data.download.download`.

    Returns:
        The checked contents, so that nobody need read and check them again.

    Raises:
        DataError: a file cannot be had; the message names the cause, the folder and what helps.
    """
    contents = {}
    for name in archive_files.SHA256:
        content, damaged = archive_files.read_verified(folder, name)
        if content is not None:
            contents[name] = content
            if damaged:
                _repair(damaged[0], content)
    if len(contents) < len(archive_files.SHA256):
        with _one_at_a_time(folder):
            contents |= {
                name: _had(folder, name, mirror, timeout) for name in archive_files.SHA256 if name not in contents
            }
    return contents


def _repair(path: Path, content: bytes) -> None:
    try:
        atomic_write(path, content)
        log.warning("%s was damaged; unpacked %s.gz again", path, path.name)
    except OSError as error:
        log.warning(
            "%s is damaged and cannot be replaced (%s); read %s.gz instead", path, error.strerror, path.name
        )


def _had(folder: Path, name: str, mirror: str, timeout: float) -> bytes:
    content, damaged = archive_files.read_verified(folder, name)
    if content is not None:
        return content  # another process has downloaded it meanwhile
    try:
        archive = download(f"{mirror.rstrip('/')}/{name}.gz", timeout, archive_files.MAX_BYTES)
        content = archive_files.verify_checksum(name, archive)
    except DataError as error:
        raise DataError(
            f"{archive_files.find_problem(folder, name, damaged)} It cannot be downloaded: {error}. {archive_files.HELP}"
        ) from error
    try:
        _keep(folder, name, archive, content)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}. {archive_files.HELP}") from error
    log.info("downloaded %s.gz from %s", name, mirror)
    return content


def import_files(source: Path, folder: Path) -> None:
    """Copy the four archives from a local folder, checked.

    Raises:
        DataError: an archive is missing there or not the published one; nothing of it is copied then.
    """
    with _one_at_a_time(folder):
        for name in archive_files.SHA256:
            path = source / f"{name}.gz"
            if not path.is_file():
                raise DataError(f"{path} does not exist; --from needs the folder that holds the four .gz archives")
            try:
                archive = path.read_bytes()
                _keep(folder, name, archive, archive_files.verify_checksum(name, archive))
            except OSError as error:
                raise DataError(f"cannot import {path} into {folder}: {error.strerror}") from error
            except DataError as error:
                raise DataError(f"{path}: {error}") from error


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}. {archive_files.HELP}") from error
    try:
        yield
    finally:
        lock.release()


def _keep(folder: Path, name: str, archive: bytes, content: bytes) -> None:
    atomic_write(folder / f"{name}.gz", archive)
    atomic_write(folder / name, content)
