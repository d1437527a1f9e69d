"""Encode table columns as numeric features, fitted on the training rows (book 2.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

Frame: TypeAlias = "pd.DataFrame"


class FeatureEncoding(NamedTuple):
    """Encodes each column as features. Fitted on training rows only, so that validation rows do not leak into it.

    Attributes:
        means: means of the numeric columns, by name; they replace missing values.
        scales: divisors of the numeric columns after subtraction of the mean; None turns standardization off.
        categories: categories of the string columns, by name; values not listed get no indicator.

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
        """Fit to training rows; `standardize` scales numbers to mean 0 and standard deviation 1 over them."""
        numbers = rows.select_dtypes(["number", "bool"]).astype("float64")
        texts = rows.drop(columns=numbers.columns)
        # The deviation is missing for a column without numbers, and 0 for a constant one.
        scales = numbers.std(ddof=0).fillna(0).replace(0, 1)
        return cls(
            means={str(name): mean for name, mean in numbers.mean().fillna(0).items()},
            scales={str(name): scale for name, scale in scales.items()} if standardize else None,
            categories={str(name): sorted(texts[name].dropna().astype(str).unique()) for name in texts},
        )

    @property
    def names(self) -> list[str]:
        """Names of the features."""
        names = list(self.means)
        for column, categories in self.categories.items():
            names += [*(f"{column}={category}" for category in categories), f"{column} missing"]
        return names

    def __call__(self, rows: Frame) -> Tensor:
        """Encode rows with the same columns: ``(num_rows, num_features)``, float32."""
        columns = []
        for name, mean in self.means.items():
            numbers = rows[name].to_numpy(dtype="float64", na_value=np.nan)
            filled = np.where(np.isnan(numbers), mean, numbers)
            columns.append(filled if self.scales is None else (filled - mean) / self.scales[name])
        for name, categories in self.categories.items():
            missing = rows[name].isna().to_numpy()
            values = rows[name].astype(str).to_numpy()
            columns += [~missing & (values == category) for category in categories] + [missing]
        return torch.from_numpy(np.stack(columns, axis=1).astype("float32"))
