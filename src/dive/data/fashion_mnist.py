"""Fashion-MNIST: 70,000 grey images of clothing (book 4.2; Xiao et al., 2017, arXiv:1708.07747)."""

import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dive.data import archive_files, fashion_mnist_files
from dive.data.image_datamodule import FashionImageDataModule


class FashionMNISTDataModule(FashionImageDataModule):
    """The published set, or an error that says why not and what helps.

    The 10,000 official test images stay the test set. Pixels are the published bytes over 255.

    Args:
        root: the data folder; the files lie in its ``FashionMNIST/raw``, where torchvision puts them.
        mirror: the address below which the archives are; what comes is checked, wherever it comes from.
        timeout: seconds to wait for the next byte of a download; see `dive.data.download`.
        download: fetch missing files, repair damaged ones; else nothing is written.
        **shared: those of `ClothingImages`.

    Raises:
        ValueError: a size, an address or a time that cannot be.
        DataError: (when loaded) files are missing or damaged and cannot be downloaded.
    """

    name = "fashion_mnist"
    num_images = 70000

    def __init__(
        self, root: str | os.PathLike[str], mirror: str, timeout: float, download: bool = True, **shared: Any
    ) -> None:
        super().__init__(**shared)
        if not mirror.startswith(("http://", "https://")):
            raise ValueError(f"mirror must begin with http:// or https://, got {mirror}")
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0, got {timeout}")
        self.folder = archive_files.raw_folder(root)
        self.mirror = mirror
        self.timeout = timeout
        self.download = download
        self._contents: dict[str, bytes] = {}

    def prepare_data(self) -> None:
        """Download what is missing and repair what is damaged, where that is wanted."""
        if self.download and self._splits is None:
            # Kept until they are parsed: to read, check and unpack them twice would be felt at each start.
            self._contents = fashion_mnist_files.ensure_downloaded(self.folder, self.mirror, self.timeout)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The published training and test set."""
        train, test = self._part("train"), self._part("t10k")
        self._contents = {}
        return train, test

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        images, labels = (
            parse_idx(self._content(f"{part}-{kind}-ubyte")) for kind in ("images-idx3", "labels-idx1")
        )
        return images.unsqueeze(1), labels.long()

    def _content(self, name: str) -> bytes:
        # Of several processes, only the one that prepares the data has them already.
        return self._contents[name] if self._contents else archive_files.read(self.folder, name)


def parse_idx(content: bytes) -> Tensor:
    """An IDX file of unsigned bytes: two zero bytes, the type 8, the number of axes, their lengths, the values.

    Args:
        content: the whole file.

    Returns:
        A uint8 tensor of the shape that the file states.

    Raises:
        ValueError: it is no such file, or its length is not what its header states.

    >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9]))
    tensor([[7, 8, 9]], dtype=torch.uint8)
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"not an IDX file of unsigned bytes: it starts with {content[:3]!r}")
    num_axes = content[3]
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise ValueError(f"an IDX file of {num_axes} axes must have a header of {start} bytes, got {len(content)}")
    shape = np.frombuffer(content, dtype=">u4", count=num_axes, offset=4).tolist()
    values = np.frombuffer(content[start:], dtype=np.uint8)
    if values.size != math.prod(shape):
        raise ValueError(f"an IDX file of shape {shape} must hold {math.prod(shape)} values, got {values.size}")
    return torch.from_numpy(values.reshape(shape).copy())
