"""Learning curves of several runs in one figure: one color per run, training solid, validation dashed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dive.sweeps.plots import read_curve, strip_markup

KINDS = ("loss", "acc")
LINE_STYLES: dict[str, Literal["-", "--"]] = {"train": "-", "val": "--"}
LEGEND_ROWS = 24
LOG_SCALE_RATIO = 10  # ratio of the largest to the smallest loss above which the axis is logarithmic


def overlay_curves(runs: Mapping[str, Path]) -> Figure | None:
    """Plot loss and accuracy over epochs, one panel each; None if no run has completed an epoch.

    Runs are given as directories by name; those without curves appear in the legend only.
    """
    curves = {
        (name, kind, split): points
        for name, directory in runs.items()
        for kind in KINDS
        for split in LINE_STYLES
        if len(points := read_curve(directory, f"{split}/{kind}"))
    }
    kinds = [kind for kind in KINDS if any(kind == key[1] for key in curves)]
    if not kinds:
        return None
    colors = dict(zip(runs, _colors(len(runs)), strict=True))
    num_columns = -(-(len(runs) + len(LINE_STYLES)) // LEGEND_ROWS)
    figure = Figure(figsize=(4.5 * len(kinds) + 2.5 * num_columns, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        panel = {(name, split): points for (name, of, split), points in curves.items() if of == kind}
        for (name, split), points in panel.items():
            axes.plot(*points.T, LINE_STYLES[split], color=colors[name], marker=".", linewidth=1.2)
        values = np.concatenate([points[:, 1] for points in panel.values()])
        axes.set(xlabel="epoch", ylabel=kind, yscale="log" if kind == "loss" and _is_wide(values) else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    with_curves = {name for name, _, _ in curves}
    handles = [Line2D([], [], color="#555555", linestyle=style, label=key) for key, style in LINE_STYLES.items()]
    handles += [
        Line2D([], [], color=colors[name], marker=".", label=strip_markup(name))
        if name in with_curves
        else Line2D([], [], linestyle="", label=f"{strip_markup(name)} (no epoch)")
        for name in runs
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize="x-small", ncols=num_columns)
    return figure


def _colors(number: int) -> list[str]:
    name = next((name for name, size in (("tab10", 10), ("tab20", 20)) if number <= size), None)
    positions = range(number) if name else np.linspace(0.05, 0.95, number)
    return [to_hex(colormaps[name or "turbo"](position)) for position in positions]


def _is_wide(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and finite.min() > 0 and finite.max() > LOG_SCALE_RATIO * finite.min()
