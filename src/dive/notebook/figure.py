"""A figure that a notebook shows, whatever is set up there."""

import io
import sys
from typing import Any

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A matplotlib Figure that draws itself where it is the last line of a cell."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, layout="constrained", **kwargs)

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        self.savefig(drawn, format="png", facecolor="white")
        return drawn.getvalue()


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, that shows pictures."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")
