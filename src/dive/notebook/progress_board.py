"""Plot curves live during training (book 3.2.1)."""

import time
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from dive.notebook.figure import NotebookFigure, in_notebook

Scale = Literal["linear", "log"]


class ProgressBoard:
    """Plots points as curves: live below a notebook cell, otherwise to a file (book 3.2.1).

    Args:
        xlabel: label of the x-axis.
        ylabel: label of the y-axis.
        xscale: ``"linear"`` or ``"log"``.
        yscale: ``"linear"`` or ``"log"``.
        file: file that is written outside notebooks.
        min_interval_s: minimum seconds between two updates; updating at each point would cost more than training.

    Raises:
        ValueError: an unknown scale.

    Attributes:
        curves: the points of each curve, ``(x, y)``, by label.

    >>> board = ProgressBoard()
    >>> for x in range(4):
    ...     board.draw(x, x**2, "square", every_n=2)
    >>> board.curves
    {'square': [(0.5, 0.5), (2.5, 6.5)]}
    """

    def __init__(
        self,
        xlabel: str = "epoch",
        ylabel: str = "",
        xscale: Scale = "linear",
        yscale: Scale = "linear",
        file: str | Path = "progress.svg",
        min_interval_s: float = 0.5,
    ) -> None:
        if not {xscale, yscale} <= {"linear", "log"}:
            raise ValueError(f"xscale and yscale must be linear or log, got {xscale} and {yscale}")
        self.axes_properties = {"xlabel": xlabel, "ylabel": ylabel, "xscale": xscale, "yscale": yscale}
        self.file = Path(file)
        self.min_interval_s = min_interval_s
        self.curves: dict[str, list[tuple[float, float]]] = {}
        self._pending: dict[str, list[tuple[float, float]]] = {}
        self._last_update = time.monotonic()
        self._display: Any = None

    def draw(self, x: float, y: float, label: str, every_n: int = 1) -> None:
        """Add a point.

        Args:
            x: x-coordinate.
            y: y-coordinate.
            label: label of the curve.
            every_n: number of points that are averaged into one, which smooths a noisy curve.

        Raises:
            ValueError: `every_n` is below 1.
        """
        if every_n < 1:
            raise ValueError(f"every_n must be at least 1, got {every_n}")
        pending = self._pending.setdefault(label, [])
        pending.append((float(x), float(y)))
        if len(pending) < every_n:
            return
        xs, ys = zip(*pending, strict=True)
        pending.clear()
        self.curves.setdefault(label, []).append((fmean(xs), fmean(ys)))
        if time.monotonic() - self._last_update >= self.min_interval_s:
            self.show()

    def show(self) -> None:
        """Update the plot now, for example for the last points. Points not yet averaged are left out."""
        figure = self.figure()
        if not in_notebook():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(self.file)
        elif self._display is None:
            from IPython.display import display  # installed only with notebooks

            self._display = display(figure, display_id=True)
        else:
            self._display.update(figure)
        self._last_update = time.monotonic()

    def figure(self) -> NotebookFigure:
        """Plot the curves."""
        figure = NotebookFigure(figsize=(4.5, 3.2), layout="constrained")
        axes = figure.subplots()
        for (label, points), style in zip(self.curves.items(), cycle(("-", "--", "-.", ":")), strict=False):
            axes.plot(*zip(*points, strict=True), style, label=label)
        axes.set(**self.axes_properties)
        axes.grid(alpha=0.3)
        if self.curves:
            axes.legend()
        return figure
