"""From columns of a table to numbers, by what some of its rows say (book 2.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

Frame: TypeAlias = "pd.DataFrame"


class FeatureEncoding(NamedTuple):
    """How each column becomes numbers. Made from training rows, then used for all: so no other row is looked at.

    Attributes:
        means: of the columns of numbers, by name, in place of what is missing.
        scales: by which they are divided once the mean is taken off; None leaves them as they are.
        categories: of the columns of texts, by name; one that is not among them has no indicator.

    >>> import pandas as pd
    >>> rows = pd.DataFrame({"rooms": [2.0, None, 4.0], "roof": ["Slate", None, None]})
    >>> encoding = FeatureEncoding.fit(rows, standardize=False)
    >>> encoding.names
    ['rooms', 'roof=Slate', 'roof missing']
    >>> encoding(rows)
    tensor([[2., 1., 0.],
            [3., 0., 1.],
            [4., 0., 1.]])
    """

    means: dict[str, float]
    scales: dict[str, float] | None
    categories: dict[str, list[str]]

    @classmethod
    def fit(cls, rows: Frame, standardize: bool) -> FeatureEncoding:
        """That of some rows.

        Args:
            rows: to look at.
            standardize: scale numbers to mean 0 and standard deviation 1 over these rows.
        """
        numbers = rows.select_dtypes(["number", "bool"]).astype("float64")
        texts = rows.drop(columns=numbers.columns)
        # A column without any number says nothing, one that is always the same has no spread.
        spread = numbers.std(ddof=0).fillna(0).replace(0, 1)
        return cls(
            means={str(name): mean for name, mean in numbers.mean().fillna(0).items()},
            scales={str(name): scale for name, scale in spread.items()} if standardize else None,
            categories={str(name): sorted(texts[name].dropna().astype(str).unique()) for name in texts},
        )

    @property
    def names(self) -> list[str]:
        """What each number of a row stands for."""
        names = list(self.means)
        for column, known in self.categories.items():
            names += [*(f"{column}={category}" for category in known), f"{column} missing"]
        return names

    def __call__(self, rows: Frame) -> Tensor:
        """Encode rows, these or others, of the same columns: ``(num_rows, num_columns)``, float32."""
        columns = []
        for name, mean in self.means.items():
            numbers = rows[name].to_numpy(dtype="float64", na_value=np.nan)
            filled = np.where(np.isnan(numbers), mean, numbers)
            columns.append(filled if self.scales is None else (filled - mean) / self.scales[name])
        for name, known in self.categories.items():
            missing = rows[name].isna().to_numpy()
            texts = rows[name].astype(str).to_numpy()
            columns += [~missing & (texts == category) for category in known] + [missing]
        return torch.from_numpy(np.stack(columns, axis=1).astype("float32"))
