"""Tables of numbers as CSV files."""

import csv
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dive.runs.atomic_io import atomic_write

log = logging.getLogger(__name__)

Row = dict[str, float]


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, float]]) -> None:
    """Write a table, replacing the one before as a whole.

    Args:
        path: of the file; its folder must exist.
        columns: their names, in order.
        rows: numbers by column; what a row does not have is left empty.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns)
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, table.getvalue())


def read_csv(path: Path) -> list[Row]:
    """The rows of a table, each with the numbers that it has; none where the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    whole = [numbers for row in rows if (numbers := _numbers(row)) is not None]
    if len(whole) < len(rows):
        log.warning("%s is damaged: a line of it breaks off, or is not of numbers, and is left out", path)
    return whole


def _numbers(row: Mapping[str, str | None]) -> Row | None:
    try:
        return {name: float(value) for name, value in row.items() if value != ""}  # type: ignore[arg-type]  # None raises
    except (TypeError, ValueError):  # TypeError: of None, where the line has ended, or has too many
        return None
