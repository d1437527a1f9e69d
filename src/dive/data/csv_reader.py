"""Read and validate a CSV file; errors name the line (book 2.2.1)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from dive.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

MAX_NUMBER = 1e38  # fits into float32


def read_csv(path: Path, target: str) -> pd.DataFrame:
    """Read a table whose first line names the columns. Empty lines are skipped.

    The file may be compressed (``.gz``, ``.zip``, ...).

    Raises:
        DataError: the file or the target column does not exist, the table has fewer than two columns or rows, or a
            value is not a valid number.
    """
    import pandas as pd  # imported here because it is slow and other data sets do not need it

    if not path.is_file():
        raise DataError(f"data.path={path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # pandas would drop fields without a name
            table = pd.read_csv(path, index_col=False, skip_blank_lines=False).dropna(how="all")
    except pd.errors.ParserWarning:
        raise DataError(f"data.path={path}: a line has more fields than the header") from None
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"data.path={path}: not a CSV file: {' '.join(str(error).split())}") from error
    columns = [str(name) for name in table]
    if len(columns) < 2:
        raise DataError(f"data.path={path}: must have at least two comma-separated columns, got {columns[0]!r}")
    if target not in columns:
        raise DataError(f"data.target={target}: {did_you_mean(target, columns)}")
    if len(table) < 2:
        raise DataError(f"data.path={path}: must have at least two rows, got {len(table)}")
    for column in (target, *table.select_dtypes("number")):
        numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
        invalid = (np.abs(numbers) > MAX_NUMBER) | ((column == target) & np.isnan(numbers))
        if invalid.any():
            row = int(invalid.argmax())
            line, value = int(table.index[row]) + 2, table[column].iloc[row]
            raise DataError(f"{path}, line {line}: {column} must be a number below 1e38, got {value}")
    return table
