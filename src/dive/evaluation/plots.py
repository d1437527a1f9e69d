"""The learning curves of several runs in one picture: a colour a run, training solid, validation dashed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dive.sweeps.plots import read_curve, strip_markup

KINDS = ("loss", "acc")
STYLES: dict[str, Literal["-", "--"]] = {"train": "-", "val": "--"}
LEGEND_ROWS = 24
SPREAD = 10  # a range of losses from which on their axis is logarithmic


def overlay_curves(runs: Mapping[str, Path]) -> Figure | None:
    """Loss and accuracy over epochs, a panel each; None where no run has any.

    Args:
        runs: directories by name; of those without curves, only the name is there.
    """
    curves = {
        (name, kind, split): points
        for name, directory in runs.items()
        for kind in KINDS
        for split in STYLES
        if len(points := read_curve(directory, f"{split}/{kind}"))
    }
    kinds = [kind for kind in KINDS if any(kind == drawn for _, drawn, _ in curves)]
    if not kinds:
        return None
    drawn_ones = {name for name, _, _ in curves}
    colours = dict(zip(runs, _colours(len(runs)), strict=True))
    columns = -(-(len(runs) + len(STYLES)) // LEGEND_ROWS)
    figure = Figure(figsize=(4.5 * len(kinds) + 2.5 * columns, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for (name, drawn, split), points in curves.items():
            if drawn == kind:
                axes.plot(*points.T, STYLES[split], color=colours[name], marker=".", linewidth=1.2)
        _dress(
            axes, kind, np.concatenate([points[:, 1] for (_, drawn, _), points in curves.items() if drawn == kind])
        )
    handles = [Line2D([], [], color="#555555", linestyle=style, label=split) for split, style in STYLES.items()]
    handles += [
        Line2D([], [], color=colours[name], marker=".", label=strip_markup(name))
        if name in drawn_ones
        else Line2D([], [], linestyle="", label=f"{strip_markup(name)} (no epoch)")
        for name in runs
    ]
    figure.legend(handles=handles, loc="outside right upper", fontsize="x-small", ncols=columns)
    return figure


def _colours(number: int) -> list[str]:
    named = next((name for name, most in (("tab10", 10), ("tab20", 20)) if number <= most), None)
    places = range(number) if named else np.linspace(0.05, 0.95, number)
    return [to_hex(colormaps[named or "turbo"](place)) for place in places]


def _dress(axes: Axes, kind: str, shown: np.ndarray) -> None:
    finite = shown[np.isfinite(shown)]
    steep = kind == "loss" and len(finite) > 0 and finite.min() > 0 and finite.max() > SPREAD * finite.min()
    axes.set(xlabel="epoch", ylabel=kind, yscale="log" if steep else "linear")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
