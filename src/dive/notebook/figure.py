"""A matplotlib figure that notebooks display under any backend."""

import io
import sys

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A matplotlib Figure that is displayed if it is the last expression of a cell."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", facecolor="white")
        return buffer.getvalue()


def in_notebook() -> bool:
    """Whether this code runs in a notebook kernel, which can display images."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel")
