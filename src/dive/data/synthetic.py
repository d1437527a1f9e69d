"""Synthetic linear regression data (book 3.3)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dive.data.datamodule import InMemoryDataModule, Splits
from dive.data.rng import named_generator
from dive.data.tensor_dataset import TensorDataset


class SyntheticRegression(InMemoryDataModule):
    """Generates ``y = X w + b + noise`` with ``X ~ N(0, 1)`` (book equation 3.3.1).

    Args:
        w: the true weights, one per feature.
        b: the true bias.
        noise: standard deviation of the noise.
        num_train: number of training examples.
        num_val: number of validation examples.
        draw_seed: seed of the examples, which do not change with `seed`.
        **shared: arguments of `dive.data.datamodule.InMemoryDataModule`.

    Raises:
        ValueError: `w` is empty, there are no examples, or the noise is negative.
    """

    name = "synthetic_regression"
    num_outputs = 1
    targets = "numbers"
    size_keys = "data.num_train, data.num_val, data.w"

    def __init__(
        self,
        w: Sequence[float],
        b: float,
        noise: float,
        num_train: int,
        num_val: int,
        draw_seed: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if len(w) < 1:
            raise ValueError("w must have at least one weight, got []")
        if min(num_train, num_val) < 1:
            raise ValueError(f"num_train and num_val must be at least 1, got {num_train} and {num_val}")
        if noise < 0:
            raise ValueError(f"noise must be at least 0, got {noise}")
        self.num_inputs = len(w)
        self.w = torch.tensor(w, dtype=torch.float32).reshape(-1, 1)
        self.b = torch.tensor([b], dtype=torch.float32)
        self.noise = noise
        self.num_train = num_train
        self.num_val = num_val
        self.draw_seed = draw_seed

    @property
    def num_bytes(self) -> int:
        """Bytes of the inputs, the targets and the noise while they are generated."""
        return 4 * (self.num_train + self.num_val) * (self.num_inputs + 3)

    def load(self) -> Splits:
        """Generate both splits: inputs ``(num, len(w))``, targets ``(num, 1)``."""
        generator = named_generator("synthetic regression", self.draw_seed)
        return Splits(self._generate(self.num_train, generator), self._generate(self.num_val, generator))

    def _generate(self, num_examples: int, generator: torch.Generator) -> TensorDataset:
        X = torch.randn(num_examples, self.num_inputs, generator=generator)
        noise = self.noise * torch.randn(num_examples, 1, generator=generator)
        return TensorDataset(X, X @ self.w + self.b + noise)


def least_squares(X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The closed-form solution: ``w, b`` that minimize ``|X w + b - y|^2`` (book equation 3.1.9).

    Args:
        X: examples, ``(num_examples, num_inputs)``.
        y: targets, ``(num_examples, num_outputs)``.

    Returns:
        ``w: (num_inputs, num_outputs)`` and ``b: (num_outputs,)``.

    >>> X = torch.tensor([[0.0], [1.0], [2.0]])
    >>> w, b = least_squares(X, 3 * X + 1)
    >>> w.round(decimals=4), b.round(decimals=4)
    (tensor([[3.]]), tensor([1.]))
    """
    design = torch.cat([X, torch.ones(len(X), 1)], dim=1).double()
    solution = torch.linalg.lstsq(design, y.double()).solution.float()
    return solution[:-1], solution[-1]
