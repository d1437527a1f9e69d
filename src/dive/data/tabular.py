"""Rows of a CSV file (book 2.2)."""

import logging
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dive.data.csv_reader import read_csv
from dive.data.datamodule import InMemoryDataModule, Splits
from dive.data.feature_encoding import FeatureEncoding, Frame
from dive.data.rng import named_generator
from dive.data.tensor_dataset import TensorDataset

log = logging.getLogger(__name__)

MAX_CATEGORIES = 20  # categories of a column, from which on it is likely to hold dates or names
PACKAGE_PREFIX = "pkg://dive.data/"  # where the files lie that come with the program


class TabularSplit(NamedTuple):
    """A table, and how to make numbers of it."""

    train: Frame
    val: Frame
    encoding: FeatureEncoding


class CSVDataModule(InMemoryDataModule):
    """Predicts one column of a CSV file from all others (book 2.2).

    The first line names the columns. Texts become indicators, one a category and one for missing; missing numbers
    become the mean (`dive.data.feature_encoding.FeatureEncoding`); means and categories are those of the training rows.

    Args:
        path: of the file.
        target: the column to predict; each row has a number in it.
        val_fraction: of the rows, held out for validation; at least one is.
        split_seed: by which these are drawn; they stay the same while `seed` varies.
        standardize: scale numbers, the target's too, to mean 0 and standard deviation 1 over the training rows.
            Losses and errors are then of the scaled target.
        **shared: those of `dive.data.datamodule.InMemoryDataModule`.

    Raises:
        ValueError: `val_fraction` is not between 0 and 1.
    """

    name = "house_tiny"
    num_outputs = 1
    targets = "numbers"
    sized_by = "data.path"

    def __init__(
        self, path: str, target: str, val_fraction: float, split_seed: int, standardize: bool, **shared: Any
    ) -> None:
        super().__init__(**shared)
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        embedded = path.startswith(PACKAGE_PREFIX)
        self.path = (
            Path(__file__).parent / path.removeprefix(PACKAGE_PREFIX) if embedded else Path(path).expanduser()
        )
        self.name = self.path.stem
        self.target = target
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.standardize = standardize

    @property
    def num_bytes(self) -> int:
        """Of the rows as they are read, and as floats: about, since columns of text grow."""
        return 4 * self.path.stat().st_size if self.path.is_file() else 0

    @cached_property
    def num_inputs(self) -> int:  # type: ignore[override]  # is found in the file
        """Numbers that stand for a row."""
        return len(self.feature_names)

    @property
    def feature_names(self) -> list[str]:
        """What each of these numbers is: ``NumRooms``, ``RoofType=Slate``, ..."""
        return self._rows.encoding.names

    @cached_property
    def _rows(self) -> TabularSplit:
        table = read_csv(self.path, self.target)
        # On the CPU, also where models are being built on no device at all, to check a sweep.
        order = torch.randperm(
            len(table), generator=named_generator("holdout", self.split_seed), device="cpu"
        ).tolist()
        num_val = max(1, min(round(self.val_fraction * len(table)), len(table) - 1))
        train, val = (table.iloc[sorted(part)] for part in (order[num_val:], order[:num_val]))
        encoding = FeatureEncoding.fit(train.drop(columns=self.target), self.standardize)
        for column, known in encoding.categories.items():
            if len(known) > MAX_CATEGORIES and 2 * len(known) > len(train):
                log.warning("%s: %s holds %d texts, and each becomes an input", self.path, column, len(known))
        return TabularSplit(train, val, encoding)

    @cached_property
    def _target_encoding(self) -> FeatureEncoding:
        return FeatureEncoding.fit(self._rows.train[[self.target]], self.standardize)

    def denormalize(self, values: Tensor) -> Tensor:
        """Targets, or predictions of them, as in the file: ``(num_rows, 1)``."""
        means, scales, _ = self._target_encoding
        return values if scales is None else (values.double() * scales[self.target] + means[self.target]).float()

    def load(self) -> Splits:
        """Read both splits: inputs ``(num_rows, num_inputs)``, targets ``(num_rows, 1)``."""
        train, val, encoding = self._rows

        def encoded(rows: Frame) -> TensorDataset:
            inputs: Tensor = encoding(rows.drop(columns=self.target))
            return TensorDataset(inputs, self._target_encoding(rows[[self.target]]))

        return Splits(train=encoded(train), val=encoded(val))
