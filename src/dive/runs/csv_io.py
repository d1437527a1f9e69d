"""Numeric tables as CSV files. They use the standard library because importing pandas would delay every run."""

import csv
import io
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dive.errors import CorruptRecordError, printable
from dive.runs.atomic_io import atomic_write
from dive.runs.record_schema import MAX_VALUE, read_text

log = logging.getLogger(__name__)

MAX_BYTES = 2**30

Row = dict[str, float]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, float]]) -> None:
    """Write a table atomically; columns that a row does not have are left empty."""
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, table.getvalue())


def read_csv(path: Path) -> list[Row]:
    """Read the rows of a table, each without its empty columns; no rows if the file does not exist.

    Rows that are damaged are skipped with a warning.
    """
    try:
        text = read_text(path, MAX_BYTES, errors="replace")
    except FileNotFoundError:
        return []
    except CorruptRecordError as error:
        log.warning("%s: skipped", error)
        return []
    rows, skipped = [], 0
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            try:
                rows.append({printable(name): _parse(value) for name, value in row.items() if value != ""})
            except (TypeError, ValueError):  # TypeError: the row has too few columns (None) or too many (a list)
                skipped += 1
    except csv.Error as error:
        log.warning("%s is corrupt in line %d (%s): skipped the rest", path, reader.line_num, error)
    if skipped:
        log.warning("%s is corrupt: skipped %d rows that are truncated or not numeric", path, skipped)
    return rows


def _parse(text: str) -> float:
    value = float(text)
    return math.copysign(math.inf, value) if abs(value) > MAX_VALUE else value
