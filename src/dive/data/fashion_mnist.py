"""Fashion-MNIST: 70,000 grey images of clothing (book 4.2; Xiao et al., 2017, arXiv:1708.07747)."""

import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dive.data import archives
from dive.data.images import ClothingImages


class FashionMNIST(ClothingImages):
    """The published set, or an error that says why not and what helps.

    The 10,000 official test images stay the test set. Pixels are the published bytes over 255.

    Args:
        root: the data folder; the files lie in its ``FashionMNIST/raw``, where torchvision puts them.
        download: fetch missing or damaged files.
        **shared: those of `ClothingImages`.

    Raises:
        ValueError: a size that cannot be.
        DataError: (when loaded) files are missing or damaged and cannot be downloaded.
    """

    name = "fashion_mnist"

    def __init__(self, root: str | os.PathLike[str], download: bool = True, **shared: Any) -> None:
        super().__init__(**shared)
        self.folder = archives.raw_folder(root)
        self.download = download

    def prepare_data(self) -> None:
        """Download what is missing, where that is wanted."""
        if self.download:
            archives.ensure(self.folder)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The published training and test set."""
        return self._part("train"), self._part("t10k")

    def _part(self, part: str) -> tuple[Tensor, Tensor]:
        images = parse_idx(archives.read(self.folder, f"{part}-images-idx3-ubyte"))
        labels = parse_idx(archives.read(self.folder, f"{part}-labels-idx1-ubyte"))
        return images.unsqueeze(1), labels.long()


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
