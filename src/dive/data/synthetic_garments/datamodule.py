"""The built-in synthetic clothing data set: shapes and classes of Fashion-MNIST, without a download."""

from typing import Any

import torch
from torch import Tensor

from dive.data.image_datamodule import FashionImageDataModule
from dive.data.rng import named_generator
from dive.data.synthetic_garments.render import render_images


class SyntheticGarments(FashionImageDataModule):
    """Procedurally generated images, which depend only on `draw_seed` and are the same on any machine.

    Args:
        num_train: number of images for training and validation.
        num_test: number of images for testing.
        draw_seed: seed of the images, which do not change with `seed`.
        **shared: arguments of `dive.data.image_datamodule.FashionImageDataModule`.

    Raises:
        ValueError: an invalid size.
    """

    name = "garments"
    size_keys = "data.num_train, data.num_test, data.resize"

    def __init__(self, num_train: int, num_test: int, draw_seed: int, **shared: Any) -> None:
        super().__init__(**shared)
        if min(num_train, num_test) < 1:
            raise ValueError(f"num_train and num_test must be at least 1, got {num_train} and {num_test}")
        self.num_train = num_train
        self.num_test = num_test
        self.draw_seed = draw_seed
        self.num_images = num_train + num_test

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Render the training set, then the test set."""
        generator = named_generator("garments", self.draw_seed)
        return self._render(self.num_train, generator), self._render(self.num_test, generator)

    def _render(self, num_images: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.randint(self.num_outputs, (num_images,), generator=generator)
        return render_images(labels, generator), labels
