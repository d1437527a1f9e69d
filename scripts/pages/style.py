"""Plot style of the figures: transparent, in colors with enough contrast on white and on dark pages."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#7d8187"  # text, axes, grid
COLORS = ("#3485d8", "#d9730d", "#2f9e5c", "#d1508f", "#9a66d9")


@contextmanager
def plot_style() -> Iterator[None]:
    """Apply the style within the context. The fixed hash salt makes SVG output reproducible."""
    style: dict[Any, Any] = {
        "axes.edgecolor": INK,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.prop_cycle": cycler(color=COLORS),
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlesize": "medium",
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "grid.alpha": 0.3,
        "grid.color": INK,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "savefig.facecolor": "none",
        "svg.hashsalt": "dive",
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with mpl.rc_context(style):
        yield


def subplots(count: int = 1, width: float = 3.6, height: float = 2.7) -> tuple[Figure, list[Axes]]:
    """Create a figure with axes in one row.

    Args:
        count: number of axes.
        width: width of each, in inches.
        height: height of each, in inches.
    """
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])
