"""The published Fashion-MNIST files: location, checksums and verified reading."""

import gzip
import hashlib
import logging
import os
from pathlib import Path

from dive.errors import DataError

log = logging.getLogger(__name__)

# SHA-256 of each published archive, and of the file inside it.
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
MAX_BYTES = 26_421_880  # size of the largest archive
HELP = (
    "Import the four archives with `python scripts/download_data.py --from DIR`, "
    "or train on the built-in synthetic garments with `data=garments`."
)


def raw_folder(root: str | os.PathLike[str]) -> Path:
    """The folder of the files below a data root, which is also where torchvision puts them."""
    return Path(root).absolute() / "FashionMNIST" / "raw"


def sha256(content: bytes) -> str:
    """The SHA-256 digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read(folder: Path, name: str) -> bytes:
    """Read and verify one file: the unpacked file or, failing that, its archive. Writes nothing.

    Raises:
        DataError: each of them is missing or damaged.
    """
    content, damaged = read_verified(folder, name)
    if content is None:
        raise DataError(f"{describe_problem(folder, name, damaged)} {HELP}")
    if damaged:
        log.warning("%s is damaged; using %s.gz instead", damaged[0], name)
    return content


def read_verified(folder: Path, name: str) -> tuple[bytes | None, list[Path]]:
    """Read one file from the unpacked file or its archive, whichever first matches its checksum.

    Returns:
        The content, or None if neither matches; and the damaged files that were found before it.
    """
    archive_digest, file_digest = SHA256[name]
    damaged: list[Path] = []
    for path, digest in ((folder / name, file_digest), (folder / f"{name}.gz", archive_digest)):
        if path.is_file():
            content = path.read_bytes()
            if sha256(content) == digest:
                return gzip.decompress(content) if path.suffix == ".gz" else content, damaged
            damaged.append(path)
    return None, damaged


def describe_problem(folder: Path, name: str, damaged: list[Path]) -> str:
    """A sentence that names the damaged files or, if there are none, the missing archive."""
    if not damaged:
        return f"Fashion-MNIST is not in {folder}: {name}.gz is missing."
    if len(damaged) == 1:
        return f"{damaged[0]} is damaged: its SHA-256 checksum does not match the published file."
    names = " and ".join([str(damaged[0]), *(path.name for path in damaged[1:])])
    return f"{names} are damaged: their SHA-256 checksums do not match the published files."


def verify_checksum(name: str, archive: bytes) -> bytes:
    """Verify an archive from an external source, and decompress it.

    Raises:
        DataError: it is not the published archive.
    """
    if (digest := sha256(archive)) != SHA256[name][0]:
        page = ", and it looks like a web page (HTML)" if b"<html" in archive[:1024].lower() else ""
        raise DataError(
            f"{name}.gz is not the published archive: its SHA-256 is {digest}, not {SHA256[name][0]}{page}"
        )
    return gzip.decompress(archive)
