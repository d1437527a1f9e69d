"""Rows of a CSV file (book 2.2)."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dive.data.batches import TensorSet
from dive.data.encoding import Encoding, Frame
from dive.data.module import DataModule, Splits
from dive.data.streams import stream
from dive.errors import DataError, suggestion

EMBEDDED = "pkg://dive.data/"  # where the files lie that come with the program


class Rows(NamedTuple):
    """A table, and how to make numbers of it."""

    train: Frame
    val: Frame
    encoding: Encoding


class Tabular(DataModule):
    """Predicts one column of a CSV file from all others (book 2.2).

    The first line names the columns. Texts become indicators, one a category and one for missing; missing numbers
    become the mean (`dive.data.encoding.Encoding`); means and categories are those of the training rows.

    Args:
        path: of the file.
        target: the column to predict; each row has a number in it.
        val_fraction: of the rows, held out for validation; at least one is.
        split_seed: by which these are drawn; they stay the same while `seed` varies.
        standardize: scale numbers, the target's too, to mean 0 and standard deviation 1 over the training rows.
            Losses and errors are then of the scaled target.
        **shared: those of `dive.data.module.DataModule`.

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
        embedded = path.startswith(EMBEDDED)
        self.path = Path(__file__).parent / path.removeprefix(EMBEDDED) if embedded else Path(path)
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
    def _rows(self) -> Rows:
        table = self._read()
        # On the CPU, also where models are being built on no device at all, to check a sweep.
        order = torch.randperm(len(table), generator=stream("holdout", self.split_seed), device="cpu").tolist()
        num_val = max(1, min(round(self.val_fraction * len(table)), len(table) - 1))
        train, val = (table.iloc[sorted(part)] for part in (order[num_val:], order[:num_val]))
        return Rows(train, val, Encoding.of(train.drop(columns=self.target), self.standardize))

    def _read(self) -> Frame:
        import pandas as pd  # slow, and of no use to other sets

        try:
            table = pd.read_csv(self.path)
        except FileNotFoundError:
            raise DataError(f"data.path={self.path}: there is no such file") from None
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise DataError(f"data.path={self.path}: is no CSV file: {' '.join(str(error).split())}") from error
        if self.target not in table:
            raise DataError(f"data.target={self.target}: {suggestion(self.target, [str(name) for name in table])}")
        if len(table) < 2 or len(table.columns) < 2:
            raise DataError(
                f"data.path={self.path}: must have two rows and two columns at least, got {table.shape}"
            )
        if not pd.api.types.is_numeric_dtype(table[self.target]):
            raise DataError(f"data.target={self.target}: must be a column of numbers")
        numbers = table.select_dtypes("number")
        for column in numbers:
            wrong = np.isinf(numbers[column]) | (numbers[column].isna() & (column == self.target))
            if wrong.any():
                line = int(wrong.argmax()) + 2
                raise DataError(
                    f"{self.path}, line {line}: {column} must be a number, got {table[column][line - 2]}"
                )
        return table

    def load(self) -> Splits:
        """Read both splits: inputs ``(num_rows, num_inputs)``, targets ``(num_rows, 1)``."""
        train, val, encoding = self._rows
        target = Encoding.of(train[[self.target]], self.standardize)

        def encoded(rows: Frame) -> TensorSet:
            inputs: Tensor = encoding(rows.drop(columns=self.target))
            return TensorSet(inputs, target(rows[[self.target]]))

        return Splits(train=encoded(train), val=encoded(val))
