"""Plots of a sweep: the learning curves of all jobs, and the score against each varied key."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dive.runs.metrics_csv import epoch_positions, read_metrics
from dive.sweeps.results_table import SEED, SweepTable

MAX_LEGEND_ENTRIES = 12  # with more curves, only the best one is named
MAX_TICK_LENGTH = 24  # characters of a tick label


def plot_curves(table: SweepTable) -> Figure | None:
    """Plot the monitored metric over epochs, one curve per job, the best in front; None if there are no curves."""
    curves = [(job, read_curve(table.directory / job, str(table.monitor))) for job in table.jobs["job"]]
    curves = [(job, points) for job, points in curves if len(points)]
    if not curves:
        return None
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab20"].colors)  # type: ignore[attr-defined]  # of a listed colormap
    if len(curves) <= MAX_LEGEND_ENTRIES:
        for job, points in reversed(curves):
            axes.plot(points[:, 0], points[:, 1], marker=".", label=strip_markup(job))
    else:
        best, *others = curves
        alpha = max(0.05, min(0.5, 20 / len(others)))
        lines = LineCollection([points for _, points in others], colors="C0", alpha=alpha, linewidths=0.8)
        axes.add_collection(lines)
        axes.plot(*best[1].T, color="C1", marker=".", label=strip_markup(f"best: {best[0]}"))
        axes.autoscale()
    figure.legend(loc="outside right upper", fontsize="x-small", reverse=True)
    axes.set(xlabel="epoch", ylabel=strip_markup(str(table.monitor)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    return figure


def read_curve(run: Path, metric: str) -> np.ndarray:
    """Read the epochs and the values of a metric from ``metrics.csv``, see `epoch_positions`: shape ``(n, 2)``."""
    rows = read_metrics(run / "metrics.csv")
    points = [(epoch, rows[step][metric]) for step, epoch in epoch_positions(rows).items() if metric in rows[step]]
    return np.array(points).reshape(-1, 2)


def strip_markup(text: str) -> str:
    r"""Escape dollar signs, between which matplotlib would typeset text as a formula.

    >>> strip_markup("root=${a}")
    'root=\\${a}'
    """
    return text.replace("$", r"\$")


def plot_scores(table: SweepTable) -> Figure | None:
    """Plot the score against each varied key, one panel per key, and the mean per value; None if no key varies."""
    keys = [key for key in table.varied if key != SEED] or table.varied
    if not keys or not table.monitor:
        return None
    columns = min(len(keys), 3)
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, key in zip(panels, keys, strict=False):
        _plot_panel(axes, table.finished[key], table.finished["score"].astype(float))
        axes.set(xlabel=strip_markup(key), ylabel=strip_markup(table.monitor))
        axes.grid(alpha=0.3)
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return figure


def _plot_panel(axes: Axes, values: pd.Series, score: pd.Series) -> None:
    x = pd.to_numeric(values, errors="coerce")
    numeric = x.notna().all()
    if not numeric:
        categories = sorted(values.astype(str).unique())
        x = values.astype(str).map(categories.index)
        labels = [strip_markup(value[:MAX_TICK_LENGTH]) for value in categories]
        axes.set_xticks(range(len(categories)), labels, rotation=20, ha="right")
    elif (x > 0).all() and x.max() >= 10 * x.min():
        axes.set_xscale("log")
    axes.plot(x, score, ".", alpha=0.5)
    means = score.groupby(x).mean()
    axes.plot(means.index, means.to_numpy(), "-" if numeric else "_", color="C1", markersize=14)
