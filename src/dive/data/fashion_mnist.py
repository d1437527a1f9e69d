"""Fashion-MNIST: 70,000 grayscale images of clothing (book 4.2; Xiao et al., 2017, arXiv:1708.07747)."""

import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dive.data import archive_files, fashion_mnist_files
from dive.data.image_datamodule import FashionImageDataModule


class FashionMNISTDataModule(FashionImageDataModule):
    """The published data set, or an error that explains how to get it: there is no silent fallback.

    The 10,000 official test images are the test split. Pixels are the published bytes divided by 255.

    Args:
        root: data folder; the files are in its ``FashionMNIST/raw``, where torchvision puts them.
        mirror: base URL of the archives, which are verified by their SHA-256; None downloads nothing.
        timeout: seconds to wait for the next byte of a download; see `dive.data.download`.
        download: download missing files and repair damaged ones; otherwise nothing is written.
        **shared: arguments of `FashionImageDataModule`.

    Raises:
        ValueError: an invalid size, URL or timeout.
        DataError: (on loading) files are missing or damaged and cannot be downloaded.
    """

    name = "fashion_mnist"
    num_images = 70000

    def __init__(
        self,
        root: str | os.PathLike[str],
        mirror: str | None,
        timeout: float,
        download: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if mirror is not None and not mirror.startswith(("http://", "https://")):
            raise ValueError(f"mirror must begin with http:// or https://, got {mirror}")
        if timeout <= 0:
            raise ValueError(f"timeout must be more than 0, got {timeout}")
        self.folder = archive_files.raw_folder(root)
        self.mirror = mirror
        self.timeout = timeout
        self.download = download
        self._contents: dict[str, bytes] = {}

    def prepare_data(self) -> None:
        """Download missing and repair damaged files, if `download` is set."""
        if self.download and self._splits is None:
            # Cached until they are parsed: reading, verifying and unpacking them twice would slow down each start.
            self._contents = fashion_mnist_files.ensure_downloaded(self.folder, self.mirror, self.timeout)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The published training and test set."""
        train, test = self._read_part("train"), self._read_part("t10k")
        self._contents = {}
        return train, test

    def _read_part(self, part: str) -> tuple[Tensor, Tensor]:
        names = (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte")
        # In distributed training, only the process that ran `prepare_data` has cached contents.
        images, labels = (
            parse_idx(self._contents.get(name) or archive_files.read(self.folder, name)) for name in names
        )
        return images.unsqueeze(1), labels.long()


def parse_idx(content: bytes) -> Tensor:
    """Parse an IDX file of bytes: two zero bytes, the type 8, the number of axes, their lengths, the values.

    Args:
        content: content of the whole file.

    Returns:
        A uint8 tensor of the shape in the header.

    Raises:
        ValueError: the content is not an IDX file of bytes, or its length does not match its header.

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
