"""The metrics of a run as a table, ``metrics.csv``: a row a step."""

import math
from collections.abc import Mapping
from pathlib import Path

from dive.direction import direction
from dive.recorded import recorded_config
from dive.tables import Row, read_table, write_table


def read_rows(path: Path) -> dict[int, Row]:
    """A metrics table by step; empty where the file does not exist."""
    return {int(row.pop("step")): row for row in read_table(path) if "step" in row}


def write_rows(rows: Mapping[int, Row], path: Path) -> None:
    """Write the table, replacing the one before as a whole."""
    columns = dict.fromkeys(name for row in rows.values() for name in row)
    write_table(path, ["step", *columns], ({"step": step, **row} for step, row in sorted(rows.items())))


def final(rows: Mapping[int, Row]) -> Row:
    """The last value of each metric."""
    return {name: value for _, row in sorted(rows.items()) for name, value in row.items()}


def best(rows: Mapping[int, Row], metric: str) -> Row:
    """The row of the epoch in which a metric was best; empty where it was never logged."""
    finite = [row for _, row in sorted(rows.items()) if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return {}
    return (min if direction(metric) == "min" else max)(finite, key=lambda row: row[metric])


def so_far(run: Path) -> dict[str, Row]:
    """``best`` and ``final`` metrics of a run that has not come to a result, as far as it came.

    An epoch in which a metric is NaN is not the best.
    """
    rows, config = read_rows(run / "metrics.csv"), recorded_config(run) or {}
    sound = {step: row for step, row in rows.items() if not any(map(math.isnan, row.values()))}
    found = {"best": best(sound, config["optimize"]) if "optimize" in config else {}, "final": final(rows)}
    return {which: {name: v for name, v in row.items() if name != "epoch"} for which, row in found.items()}
