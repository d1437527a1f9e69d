"""Four tiny files in place of the published Fashion-MNIST files, valid and damaged."""

import gzip
import hashlib
from pathlib import Path

from dive.data import archive_files

CONTENTS = {name: f"content of {name}, ".encode() * 50 for name in archive_files.SHA256}
ARCHIVES = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
DIGESTS = {
    name: (hashlib.sha256(ARCHIVES[name]).hexdigest(), hashlib.sha256(CONTENTS[name]).hexdigest())
    for name in CONTENTS
}
IMAGES = "train-images-idx3-ubyte"
LAST = "t10k-labels-idx1-ubyte"


def write_archives(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in ARCHIVES.items():
        (folder / f"{name}.gz").write_bytes(content)
    return folder


def read_files(folder: Path) -> dict[str, bytes]:
    """The content of each file of a folder, except the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


COMPLETE = CONTENTS | {f"{name}.gz": archive for name, archive in ARCHIVES.items()}


def truncate(content: bytes) -> bytes:
    return content[:-1]


def empty(content: bytes) -> bytes:
    return b""


def flip_byte(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
