"""Pictures of a sweep: the learning curves of all jobs, and the score against each key that varies."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dive.sweeps.results_table import SEED, SweepTable

MAX_LEGEND_ENTRIES = 12  # curves of a picture that has a legend
MAX_TICK_LENGTH = 24  # characters of a value on an axis


def plot_curves(table: SweepTable) -> Figure | None:
    """The metric that scores the jobs, over epochs, a curve a job, the best in front; None where there is none.

    Args:
        table: of the sweep.
    """
    found = [
        (row["job"], read_curve(table.directory / row["job"], str(table.monitor)))
        for _, row in table.jobs.iterrows()
    ]
    drawn = [(job, points) for job, points in found if len(points)]
    if not drawn:
        return None
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab20"].colors)  # type: ignore[attr-defined]  # a list of colours has them
    if len(drawn) <= MAX_LEGEND_ENTRIES:
        for job, points in reversed(drawn):
            axes.plot(points[:, 0], points[:, 1], marker=".", label=strip_markup(job))
    else:
        others = [points for _, points in drawn[1:]]
        alpha = max(0.05, min(0.5, 20 / len(others)))
        axes.add_collection(LineCollection(others, colors="C0", alpha=alpha, linewidths=0.8))
        axes.plot(*drawn[0][1].T, color="C1", marker=".", label=strip_markup(f"best: {drawn[0][0]}"))
        axes.autoscale()
    figure.legend(loc="outside right upper", fontsize="x-small", reverse=True)
    axes.set(xlabel="epoch", ylabel=str(table.monitor))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    return figure


def read_curve(run: Path, metric: str) -> np.ndarray:
    """Epochs from 1 and values of a metric in a run's ``metrics.csv``: ``(num_epochs, 2)``; empty without any."""
    try:
        with (run / "metrics.csv").open(newline="") as file:  # pandas takes ten times as long for a small table
            rows = [(row.get("epoch"), row.get(metric)) for row in csv.DictReader(file)]
    except FileNotFoundError:
        rows = []
    points = [(float(epoch) + 1, float(value)) for epoch, value in rows if epoch and value]
    return np.array(points).reshape(-1, 2)


def strip_markup(text: str) -> str:
    r"""A text as matplotlib shows it by the letter: it would set what stands between dollars as a formula.

    >>> strip_markup("root=${a}")
    'root=\\${a}'
    """
    return text.replace("$", r"\$")


def plot_scores(table: SweepTable) -> Figure | None:
    """The score against each key that varies, a panel a key, with the mean at each value; None without any.

    Args:
        table: of the sweep.
    """
    keys = [key for key in table.varied if key != SEED] or table.varied
    if not keys or not table.monitor:
        return None
    columns = min(len(keys), 3)
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, key in zip(panels, keys, strict=False):
        _panel(axes, table.finished[key], table.finished["score"].astype(float))
        axes.set(xlabel=strip_markup(key), ylabel=table.monitor)
        axes.grid(alpha=0.3)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return figure


def _panel(axes: Axes, values: pd.Series, score: pd.Series) -> None:
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all():
        x = numbers
        if (x > 0).all() and x.max() >= 10 * x.min():
            axes.set_xscale("log")
    else:
        order = sorted(values.astype(str).unique())
        x = values.astype(str).map(order.index)
        axes.set_xticks(
            range(len(order)), [strip_markup(value[:MAX_TICK_LENGTH]) for value in order], rotation=20, ha="right"
        )
    axes.plot(x, score, ".", alpha=0.5)
    means = score.groupby(x).mean()
    axes.plot(means.index, means.to_numpy(), "-" if numbers.notna().all() else "_", color="C1", markersize=14)
