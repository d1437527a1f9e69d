"""The metrics of a run as a table, ``metrics.csv``, with one row per step."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

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


def best_step(rows: Mapping[int, Row], metric: str, mode: str = "auto") -> int | None:
    """The first step with the best value of a metric; None if it was never logged."""
    finite = [step for step, row in sorted(rows.items()) if math.isfinite(row.get(metric, math.nan))]
    if not finite:
        return None
    return (min if metric_mode(metric, mode) == "min" else max)(finite, key=lambda step: rows[step][metric])


def epoch_positions(rows: Mapping[int, Row]) -> dict[int, float]:
    """The position of each step on an axis of epochs: 1.5 is the middle of the second epoch.

    Rows without an epoch are left out. The last step of an epoch is the one with its training loss.
    """
    epochs = {step: row["epoch"] + 1 for step, row in sorted(rows.items()) if "epoch" in row}
    ends = [step for step in epochs if "train/loss" in rows[step]]
    if not ends:
        return epochs
    x, y = [-1, *ends], [0.0, *(epochs[end] for end in ends)]
    # The unfinished epoch is assumed to be as long as the one before.
    positions = np.interp(list(epochs), [*x, 2 * x[-1] - x[-2]], [*y, 2 * y[-1] - y[-2]])
    return dict(zip(epochs, positions.tolist(), strict=True))


def read_partial_metrics(run: Path) -> dict[str, Row]:
    """The best and final metrics so far of a run without a result; the best validation has no NaN metric."""
    rows, config = read_metrics(run / "metrics.csv"), load_config(run) or {}
    valid = {step: row for step, row in rows.items() if not any(map(math.isnan, row.values()))}
    monitor = config.get("monitor")
    best = best_step(valid, monitor, config.get("mode", "auto")) if isinstance(monitor, str) else None
    metrics = {"best": {} if best is None else valid[best], "final": final_metrics(rows)}
    return {kind: {name: v for name, v in row.items() if name != "epoch"} for kind, row in metrics.items()}
