"""Base class of the clothing image data sets: ten classes, a validation holdout, resizing."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dive.data.datamodule import InMemoryDataModule, Splits
from dive.data.rng import named_generator
from dive.data.synthetic_garments.render import CLASS_NAMES
from dive.data.tensor_dataset import TensorDataset
from dive.errors import DataError


class FashionImageDataModule(InMemoryDataModule):
    """Grayscale images of clothing in ten classes. Subclasses implement `read`.

    Args:
        resize: height and width to resize the images to, from 28 by 28.
        val_size: training images held out for validation; 0 validates on the test set, as the book does.
        split_seed: seed of the choice of these images, which does not change with `seed`.
        **shared: arguments of `dive.data.datamodule.InMemoryDataModule`.

    Raises:
        ValueError: an invalid size.
    """

    class_names = CLASS_NAMES
    num_outputs = len(CLASS_NAMES)
    targets = "classes"
    size_keys = "data.resize"
    num_images: int = 0  # of training and test set together; 0 if unknown before reading

    def __init__(self, resize: Sequence[int], val_size: int, split_seed: int = 0, **shared: Any) -> None:
        super().__init__(**shared)
        if len(resize) != 2 or min(resize) < 1:
            raise ValueError(f"resize must be [height, width], each at least 1, got {list(resize)}")
        if val_size < 0:
            raise ValueError(f"val_size must be at least 0, got {val_size}")
        self.size = (resize[0], resize[1])
        self.val_size = val_size
        self.split_seed = split_seed
        self.num_inputs = resize[0] * resize[1]

    @property
    def num_bytes(self) -> int:
        """Bytes of the images (as bytes, as floats and resized) and of the labels."""
        return self.num_images * (28 * 28 * 5 + 4 * self.num_inputs + 8)

    @abstractmethod
    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The training and the test set: uint8 images ``(n, 1, 28, 28)`` and int64 labels ``(n,)``."""

    def load(self) -> Splits:
        """Read float images in ``[0, 1]``, ``(n, 1, height, width)``, and hold out the validation images."""
        (images, labels), (test_images, test_labels) = self.read()
        if self.val_size >= len(images):
            raise DataError(f"data.val_size={self.val_size}: must be below the {len(images)} training images")
        test = self._make_dataset(test_images, test_labels)
        if self.val_size == 0:
            return Splits(train=self._make_dataset(images, labels), val=test, test=test)
        order = torch.randperm(len(images), generator=named_generator("holdout", self.split_seed))
        val, train = order[: self.val_size], order[self.val_size :]
        return Splits(
            self._make_dataset(images[train], labels[train]), self._make_dataset(images[val], labels[val]), test
        )

    def _make_dataset(self, images: Tensor, labels: Tensor) -> TensorDataset:
        return TensorDataset(to_float(images, self.size), labels)

    def text_labels(self, indices: Iterable[int]) -> list[str]:
        """The class names of class indices (book 4.2.1)."""
        return [self.class_names[int(i)] for i in indices]


def to_float(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Convert bytes to floats in ``[0, 1]``, and resize them if `size` differs.

    Args:
        images: ``(n, 1, height, width)``, uint8.
        size: height and width of the result.

    Returns:
        ``(n, 1, *size)``, float32.
    """
    floats = images.float().div_(255)
    if floats.shape[2:] == size:
        return floats
    return F.interpolate(floats, size=size, mode="bilinear", antialias=True).clamp_(0, 1)
