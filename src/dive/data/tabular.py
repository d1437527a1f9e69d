"""Data module for CSV files (book 2.2)."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dive.data.csv_reader import read_csv, uncompressed_size
from dive.data.datamodule import InMemoryDataModule, Splits
from dive.data.feature_encoding import FeatureEncoding, Frame
from dive.data.rng import named_generator
from dive.data.tensor_dataset import TensorDataset

log = logging.getLogger(__name__)

MAX_CATEGORIES = 20  # a column with more is likely to hold dates or names
PACKAGE_PREFIX = "pkg://dive.data/"  # prefix of paths to files shipped with the package


class TabularSplit(NamedTuple):
    """The training rows, the validation rows and the encoding of their features."""

    train: Frame
    val: Frame
    encoding: FeatureEncoding


class CSVDataModule(InMemoryDataModule):
    """One column of a CSV file is the target, all others are the inputs (book 2.2).

    The first line names the columns. String columns are one-hot encoded, with an indicator for missing values, and
    missing numbers are replaced by the mean. Means and categories are those of the training rows
    (`dive.data.feature_encoding.FeatureEncoding`).

    Args:
        path: path of the file.
        target: the column to predict; it must hold a number in each row.
        val_fraction: fraction of the rows held out for validation, at least one row.
        split_seed: seed of the split, which does not change with `seed`.
        standardize: scale numbers, including the target, to mean 0 and standard deviation 1 over the training
            rows. Losses and errors then refer to the scaled target.
        **shared: arguments of `dive.data.datamodule.InMemoryDataModule`.

    Raises:
        ValueError: `val_fraction` is not between 0 and 1, or `path` names no file of the package.
    """

    name = "house_tiny"
    num_outputs = 1
    targets = "numbers"
    size_keys = "data.path"

    def __init__(
        self, path: str, target: str, val_fraction: float, split_seed: int, standardize: bool, **shared: Any
    ) -> None:
        super().__init__(**shared)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        if path.startswith(PACKAGE_PREFIX):
            name = path.removeprefix(PACKAGE_PREFIX)
            if not name or name != Path(name).name:
                raise ValueError(f"path={path}: {PACKAGE_PREFIX} must be followed by a file name")
            self.path = Path(__file__).parent / name
        else:
            try:
                self.path = Path(path).expanduser()
            except RuntimeError as error:  # ~user, and there is no such user
                raise ValueError(f"path={path}: {error}") from error
        self.name = self.path.stem
        self.target = target
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.standardize = standardize

    @property
    def num_bytes(self) -> int:
        """Estimate for the rows as read and as floats; string columns may take more."""
        return 4 * uncompressed_size(self.path) if self.path.is_file() else 0

    @cached_property
    def num_inputs(self) -> int:  # type: ignore[override]  # known from the file
        """Number of features."""
        return len(self.feature_names)

    @property
    def feature_names(self) -> list[str]:
        """Names of the features: ``NumRooms``, ``RoofType=Slate``, ..."""
        return self._rows.encoding.names

    @cached_property
    def _rows(self) -> TabularSplit:
        table = read_csv(self.path, self.target)
        # On the CPU even under the meta device, on which sweeps build models to validate jobs.
        generator = named_generator("holdout", self.split_seed)
        order = torch.randperm(len(table), generator=generator, device="cpu").tolist()
        num_val = max(1, min(round(self.val_fraction * len(table)), len(table) - 1))
        train, val = (table.iloc[sorted(part)] for part in (order[num_val:], order[:num_val]))
        encoding = FeatureEncoding.fit(train.drop(columns=self.target), self.standardize)
        for column, categories in encoding.categories.items():
            if len(categories) > MAX_CATEGORIES and 2 * len(categories) > len(train):
                log.warning(
                    "%s: %s has %d categories, each of which becomes an input", self.path, column, len(categories)
                )
        return TabularSplit(train, val, encoding)

    @cached_property
    def _target_encoding(self) -> FeatureEncoding:
        return FeatureEncoding.fit(self._rows.train[[self.target]], self.standardize)

    def denormalize(self, values: Tensor) -> Tensor:
        """Convert targets or predictions to the units of the file: ``(num_rows, 1)``."""
        means, scales, _ = self._target_encoding
        return values if scales is None else (values.double() * scales[self.target] + means[self.target]).float()

    def load(self) -> Splits:
        """Read both splits: inputs ``(num_rows, num_inputs)``, targets ``(num_rows, 1)``."""
        train, val, encoding = self._rows

        def encode(rows: Frame) -> TensorDataset:
            inputs: Tensor = encoding(rows.drop(columns=self.target))
            return TensorDataset(inputs, self._target_encoding(rows[[self.target]]))

        return Splits(encode(train), encode(val))
