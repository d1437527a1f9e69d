"""The published Fashion-MNIST files: found, checked, downloaded, imported. Never something else in their place."""

import gzip
import hashlib
import logging
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from filelock import FileLock

from dive.errors import DataError
from dive.files import put

log = logging.getLogger(__name__)

# SHA-256 of each archive as published, and of what is in it.
DIGESTS = {
    "train-images-idx3-ubyte": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
TIMEOUT_S = 30.0
HELP = (
    "Import the four archives with `python scripts/download.py --from DIR`, "
    "or train on the embedded drawn garments with `data=garments`."
)


def raw_folder(root: str | os.PathLike[str]) -> Path:
    """Where the files lie below a data folder: in the place that torchvision gives them."""
    return Path(root).absolute() / "FashionMNIST" / "raw"


def sha256(content: bytes) -> str:
    """The digest, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read(folder: Path, name: str) -> bytes:
    """One file's content, checked: the unpacked file, or else its archive. Writes nothing.

    Raises:
        DataError: neither is there, or what is there is damaged.
    """
    damaged: list[Path] = []
    for path, digest, unpack in _places(folder, name):
        if not path.is_file():
            continue
        content = path.read_bytes()
        if sha256(content) == digest:
            if damaged:
                log.warning("%s is damaged; read %s instead", damaged[0], path.name)
            return unpack(content)
        damaged.append(path)
    if damaged:
        raise DataError(f"{damaged[0]} is damaged: its SHA-256 is not that of the published file. {HELP}")
    raise DataError(f"Fashion-MNIST is not in {folder}: {name}.gz is missing. {HELP}")


def _places(folder: Path, name: str) -> list[tuple[Path, str, Callable[[bytes], bytes]]]:
    archive, unpacked = DIGESTS[name]
    return [(folder / name, unpacked, bytes), (folder / f"{name}.gz", archive, gzip.decompress)]


def ensure(folder: Path) -> None:
    """Have all four files in the folder, downloading through torchvision those that are missing or damaged.

    Several processes may call it at once: one downloads, the others wait for it.

    Raises:
        DataError: a file cannot be had; the message names the cause, the folder and what helps.
    """
    if not _lacking(folder):
        return
    with _one_at_a_time(folder):
        for name, problem in _lacking(folder).items():
            try:
                _install(folder, name, _download(name))
            except (OSError, RuntimeError, HTTPException, DataError) as error:
                cause = error.reason if isinstance(error, URLError) else str(error) or type(error).__name__
                raise DataError(f"{problem} It cannot be downloaded: {cause}. {HELP}") from error


def import_from(source: Path, folder: Path) -> None:
    """Copy the four archives from a local folder, checked.

    Raises:
        DataError: an archive is missing there or not the published one; nothing of it is copied then.
    """
    with _one_at_a_time(folder):
        for name in DIGESTS:
            archive = source / f"{name}.gz"
            if not archive.is_file():
                raise DataError(
                    f"{archive} does not exist; --from needs the folder that holds the four .gz archives"
                )
            try:
                _install(folder, name, archive.read_bytes())
            except OSError as error:
                raise DataError(f"cannot import {archive} into {folder}: {error.strerror}") from error
            except DataError as error:
                raise DataError(f"{archive}: {error}") from error


def _lacking(folder: Path) -> dict[str, str]:
    problems = {}
    for name in DIGESTS:
        try:
            read(folder, name)
        except DataError as error:
            problems[name] = str(error).removesuffix(HELP).strip()
    return problems


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire()
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}. {HELP}") from error
    try:
        yield
    finally:
        lock.release()


def _download(name: str) -> bytes:
    from torchvision.datasets import FashionMNIST  # slow to import, and seldom needed
    from torchvision.datasets.utils import download_url

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        with tempfile.TemporaryDirectory() as folder:
            download_url(f"{FashionMNIST.mirrors[0]}{name}.gz", folder, f"{name}.gz")
            return (Path(folder) / f"{name}.gz").read_bytes()
    finally:
        socket.setdefaulttimeout(before)


def _install(folder: Path, name: str, archive: bytes) -> None:
    digest, _ = DIGESTS[name]
    if sha256(archive) != digest:
        raise DataError(f"{name}.gz is not the published archive: its SHA-256 is {sha256(archive)}, not {digest}")
    for path, content in ((folder / f"{name}.gz", archive), (folder / name, gzip.decompress(archive))):
        put(path, content)
