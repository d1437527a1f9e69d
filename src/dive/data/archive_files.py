"""The published Fashion-MNIST files: found and checked. Never something else in their place."""

import gzip
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from dive.errors import DataError

log = logging.getLogger(__name__)

# SHA-256 of each archive as published, and of what is in it.
SHA256 = {
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
MAX_BYTES = 26_421_880  # bytes of the largest archive
HELP = (
    "Import the four archives with `python scripts/download_data.py --from DIR`, "
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
    content, damaged = read_verified(folder, name)
    if content is None:
        raise DataError(f"{find_problem(folder, name, damaged)} {HELP}")
    if damaged:
        log.warning("%s is damaged; read %s.gz instead", damaged[0], name)
    return content


def read_verified(folder: Path, name: str) -> tuple[bytes | None, list[Path]]:
    """One file's content, from the first place where it is sound; and the places before that, where it is damaged.

    Returns:
        None for the content, where it is sound nowhere.
    """
    archive, unpacked = SHA256[name]
    places: list[tuple[Path, str, Callable[[bytes], bytes]]] = [
        (folder / name, unpacked, bytes),
        (folder / f"{name}.gz", archive, gzip.decompress),
    ]
    damaged: list[Path] = []
    for path, digest, unpack in places:
        if path.is_file():
            content = path.read_bytes()
            if sha256(content) == digest:
                return unpack(content), damaged
            damaged.append(path)
    return None, damaged


def find_problem(folder: Path, name: str, damaged: list[Path]) -> str:
    """Say that a file is damaged in these places, or missing where there are none."""
    if not damaged:
        return f"Fashion-MNIST is not in {folder}: {name}.gz is missing."
    also = "".join(f", and so is {path.name}" for path in damaged[1:])
    return f"{damaged[0]} is damaged: its SHA-256 is not that of the published file{also}."


def verify_checksum(name: str, archive: bytes) -> bytes:
    """The content of an archive that comes from elsewhere.

    Raises:
        DataError: it is not the published archive.
    """
    digest, _ = SHA256[name]
    if sha256(archive) != digest:
        page = ", and it looks like a web page (HTML)" if b"<html" in archive[:1024].lower() else ""
        raise DataError(
            f"{name}.gz is not the published archive: its SHA-256 is {sha256(archive)}, not {digest}{page}"
        )
    return gzip.decompress(archive)
