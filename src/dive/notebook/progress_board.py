"""Curves, drawn while they come (book 3.2.1)."""

import time
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from dive.notebook.figure import NotebookFigure, in_notebook

Scale = Literal["linear", "log"]


class ProgressBoard:
    """Draws points as curves: in a notebook below its cell, live; elsewhere into a file (book 3.2.1).

    Args:
        xlabel: what stands below.
        ylabel: what stands at the side.
        xscale: ``"linear"`` or ``"log"``.
        yscale: ``"linear"`` or ``"log"``.
        file: into which it is drawn where there is no notebook.
        min_interval_s: from one drawing to the next; drawing at each point would take longer than training.

    Raises:
        ValueError: a scale that there is not.

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
        self.settings: dict[str, Any] = {"xlabel": xlabel, "ylabel": ylabel, "xscale": xscale, "yscale": yscale}
        self.file = Path(file)
        self.min_interval_s = min_interval_s
        self.curves: dict[str, list[tuple[float, float]]] = {}
        self._waiting: dict[str, list[tuple[float, float]]] = {}
        self._drawn_at = time.monotonic()
        self._display: Any = None

    def draw(self, x: float, y: float, label: str, every_n: int = 1) -> None:
        """Add a point.

        Args:
            x: where.
            y: how high.
            label: of the curve.
            every_n: so many points are drawn as one, their mean, which smooths a noisy curve.

        Raises:
            ValueError: `every_n` is below 1.
        """
        if every_n < 1:
            raise ValueError(f"every_n must be at least 1, got {every_n}")
        waiting = self._waiting.setdefault(label, [])
        waiting.append((float(x), float(y)))
        if len(waiting) < every_n:
            return
        xs, ys = zip(*waiting, strict=True)
        waiting.clear()
        self.curves.setdefault(label, []).append((fmean(xs), fmean(ys)))
        if time.monotonic() - self._drawn_at >= self.min_interval_s:
            self.show()

    def show(self) -> None:
        """Draw what there is, now: at the end, for the last points. Those that wait for others are left out."""
        figure = self.figure()
        if not in_notebook():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(self.file)
        elif self._display is None:
            from IPython.display import display  # there is one only where there are notebooks

            self._display = display(figure, display_id=True)
        else:
            self._display.update(figure)
        self._drawn_at = time.monotonic()

    def figure(self) -> NotebookFigure:
        """The curves as a picture."""
        figure = NotebookFigure(figsize=(4.5, 3.2))
        axes = figure.subplots()
        for (label, points), style in zip(
            self.curves.items(), ("-", "--", "-.", ":") * len(self.curves), strict=False
        ):
            axes.plot(*zip(*points, strict=True), style, label=label)
        axes.set(**self.settings)
        axes.grid(alpha=0.3)
        if self.curves:
            axes.legend()
        return figure
