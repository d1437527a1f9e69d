"""The metrics of a run as a table, ``metrics.csv``: a row a step."""

import csv
import io
import logging
import math
from collections.abc import Mapping
from pathlib import Path

from dive.direction import direction
from dive.files import put

log = logging.getLogger(__name__)

Row = dict[str, float]


def read_rows(path: Path) -> dict[int, Row]:
    """A metrics table by step; empty where the file does not exist."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        table = list(csv.DictReader(file))
    whole = [row for row in table if None not in row.values()]
    if len(whole) < len(table):
        log.warning("%s is damaged: a line of it breaks off, and is left out", path)
    return {int(row.pop("step")): {name: float(value) for name, value in row.items() if value} for row in whole}


def write_rows(rows: Mapping[int, Row], path: Path) -> None:
    """Write the table, replacing the one before as a whole."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["step", *columns])
    writer.writeheader()
    writer.writerows({"step": step, **row} for step, row in sorted(rows.items()))
    put(path, table.getvalue())


def final(rows: Mapping[int, Row]) -> Row:
    """The last value of each metric."""
    return {name: value for _, row in sorted(rows.items()) for name, value in row.items()}


def best(rows: Mapping[int, Row], metric: str) -> Row:
    """The row of the epoch in which a metric was best; empty where it was never logged."""
    finite = [row for _, row in sorted(rows.items()) if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return {}
    return (min if direction(metric) == "min" else max)(finite, key=lambda row: row[metric])
