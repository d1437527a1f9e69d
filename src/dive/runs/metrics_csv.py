"""The metrics of a run as a table, ``metrics.csv``, with one row per step."""

import math
from collections.abc import Mapping
from pathlib import Path

from dive.runs.csv_io import Row, read_csv, write_csv
from dive.runs.record import load_config
from dive.tasks.metric_mode import metric_mode


def read_metrics(path: Path) -> dict[int, Row]:
    """Read a metrics table, by step; empty if the file does not exist. Rows without a valid step are skipped."""
    return {int(row.pop("step")): row for row in read_csv(path) if row.get("step", math.nan).is_integer()}


def write_metrics(rows: Mapping[int, Row], path: Path) -> None:
    """Write the table atomically, in the order of the steps."""
    columns = dict.fromkeys(name for row in rows.values() for name in row)
    write_csv(path, ["step", *columns], ({"step": step, **row} for step, row in sorted(rows.items())))


def final_metrics(rows: Mapping[int, Row]) -> Row:
    """The last value of each metric."""
    return {name: value for _, row in sorted(rows.items()) for name, value in row.items()}


def best_metrics(rows: Mapping[int, Row], metric: str, mode: str = "auto") -> Row:
    """The row of the epoch with the best value of a metric; empty if it was never logged."""
    finite = [row for _, row in sorted(rows.items()) if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return {}
    return (min if metric_mode(metric, mode) == "min" else max)(finite, key=lambda row: row[metric])


def read_partial_metrics(run: Path) -> dict[str, Row]:
    """The best and final metrics so far of a run without a result; the best epoch has no NaN metric."""
    rows, config = read_metrics(run / "metrics.csv"), load_config(run) or {}
    valid = {step: row for step, row in rows.items() if not any(map(math.isnan, row.values()))}
    metrics = {
        "best": best_metrics(valid, config["monitor"], config.get("mode", "auto"))
        if isinstance(config.get("monitor"), str)
        else {},
        "final": final_metrics(rows),
    }
    return {kind: {name: v for name, v in row.items() if name != "epoch"} for kind, row in metrics.items()}
