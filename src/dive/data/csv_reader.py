"""Read and validate a CSV file; errors name the line (book 2.2.1)."""

from __future__ import annotations

import bz2
import gzip
import logging
import lzma
import warnings
import zlib
from lzma import LZMAError
from pathlib import Path
from tarfile import TarError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from dive.data.memory import available_memory
from dive.errors import DataError, did_you_mean, printable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# How pandas reads a table as texts, without interpreting the first line.
RAW: dict[str, Any] = {
    "header": None,
    "dtype": str,
    "index_col": False,
    "keep_default_na": False,
    "skip_blank_lines": False,
}
MAX_NUMBER = 1e38  # fits into float32


def read_csv(path: Path, target: str) -> pd.DataFrame:
    """Read a table whose first line names the columns. Empty lines are skipped.

    The file may be compressed (``.gz``, ``.zip``, ...). A column with some texts among its numbers is logged.

    Raises:
        DataError: the file or the target column does not exist, two columns have the same name, the table has
            fewer than two columns or rows, or a value is not a valid number.
    """
    import pandas as pd  # imported here because it is slow and other data sets do not need it

    if not path.is_file():
        raise DataError(f"data.path={path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # pandas would drop fields without a name
            table = pd.read_csv(path, index_col=False, skip_blank_lines=False).dropna(how="all")
            header = pd.read_csv(path, **RAW, nrows=1).iloc[0].str.strip()
    except pd.errors.ParserWarning:
        raise DataError(f"data.path={path}: a line has more fields than the header") from None
    except (ValueError, OSError, EOFError, ImportError, BadZipFile, LZMAError, TarError, zlib.error) as error:
        raise DataError(f"data.path={path}: not a CSV file: {' '.join(str(error).split())}") from error
    if repeated := header[header.duplicated()].tolist():
        # pandas would rename the second one, and a repeated target would become an input.
        raise DataError(f"data.path={path}: several columns have the name {repeated[0]!r}; rename or remove them")
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
            where, value = _line(path, int(table.index[row])), table[column].iloc[row]
            raise DataError(f"{path}, {where}: {column} must be a number below 1e38, got {printable(str(value))}")
    for column in table.columns.difference([target, *table.select_dtypes(["number", "bool"])]):
        numbers = pd.to_numeric(table[column], errors="coerce")
        texts = table[column][numbers.isna() & table[column].notna()]
        if 0 < len(texts) < numbers.notna().sum():
            log.warning(
                "%s: %s has %d texts among its numbers, such as %r in %s: all its values become categories",
                *(path, column, len(texts), texts.iloc[0], _line(path, int(texts.index[0]))),
            )
    return table


def _line(path: Path, row: int) -> str:
    """The line of a row, which is counted from 0: quoted fields of the rows before may contain newlines."""
    import pandas as pd

    before = pd.read_csv(path, **RAW, nrows=row + 1)
    return f"line {row + 2 + sum(int(before[column].str.count(chr(10)).sum()) for column in before)}"


def uncompressed_size(path: Path) -> int:
    """Bytes of the content of a file, compressed or not; counting stops at the available memory."""
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    try:
        if path.suffix == ".zip":
            with ZipFile(path) as archive:
                return sum(file.file_size for file in archive.infolist())
        if path.suffix in openers:
            size, limit = 0, available_memory()
            with openers[path.suffix](path) as file:
                while size <= limit and (chunk := file.read(2**20)):
                    size += len(chunk)
            return size
    except (OSError, EOFError, BadZipFile, LZMAError, zlib.error):
        pass  # `read_csv` reports it
    return path.stat().st_size
