"""A CSV file, read and checked; what is wrong is told by the line (book 2.2.1)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from dive.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

MAX_EXACT_INTEGER = 1e38  # that fits into 32 bits


def read_csv(path: Path, target: str) -> pd.DataFrame:
    """Read a table whose first line names the columns. Empty lines are left out.

    Args:
        path: of the file, which may be compressed (``.gz``, ``.zip``, ...).
        target: the column to predict.

    Raises:
        DataError: there is no such file or column, it is no table of two columns and two rows at least, or
            something in it is not the number that it must be.
    """
    import pandas as pd  # slow, and of no use to other sets

    if not path.is_file():
        raise DataError(f"data.path={path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # else fields without a name are cut off
            table = pd.read_csv(path, index_col=False, skip_blank_lines=False).dropna(how="all")
    except pd.errors.ParserWarning:
        raise DataError(f"data.path={path}: a line has more fields than the first line names") from None
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"data.path={path}: is no CSV file: {' '.join(str(error).split())}") from error
    columns = [str(name) for name in table]
    if len(columns) < 2:
        raise DataError(f"data.path={path}: two columns at least, with commas between them, got {columns[0]!r}")
    if target not in columns:
        raise DataError(f"data.target={target}: {did_you_mean(target, columns)}")
    if len(table) < 2:
        raise DataError(f"data.path={path}: must have two rows at least, got {len(table)}")
    table[target] = _numbers(table, target, path, missing=False)
    for column in table.select_dtypes("number"):
        _numbers(table, str(column), path)
    return table


def _numbers(table: pd.DataFrame, column: str, path: Path, missing: bool = True) -> np.ndarray:
    import pandas as pd

    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    wrong = np.abs(numbers) > MAX_EXACT_INTEGER
    if not missing:
        wrong |= np.isnan(numbers)
    if wrong.any():
        row = int(wrong.argmax())
        line, value = int(table.index[row]) + 2, table[column].iloc[row]
        raise DataError(f"{path}, line {line}: {column} must be a number below 1e38, got {value}")
    return numbers
