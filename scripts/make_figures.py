"""Draw the pictures of the book pages into docs/figures/, all or those named."""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from dive.errors import one_line_errors
from pages import classification, linear_regression, multilayer_perceptrons
from pages.style import plot_style

FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def pictures() -> dict[str, Callable[[], Figure]]:
    """What can be drawn, by the name of its file: the public functions of the pages' modules."""
    return {
        name: function
        for page in (linear_regression, classification, multilayer_perceptrons)
        for name, function in inspect.getmembers(page, inspect.isfunction)
        if function.__module__ == page.__name__ and not name.startswith("_")
    }


def draw(name: str, folder: Path) -> Path:
    """Draw one picture, as SVG.

    Args:
        name: one of `pictures`.
        folder: where it goes.
    """
    path = folder / f"{name}.svg"
    with plot_style():
        pictures()[name]().savefig(path, metadata={"Date": None})
    return path


def main() -> None:
    """Draw what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=pictures(), metavar="NAME", help=", ".join(pictures()))
    names = parser.parse_args().names or pictures()
    with one_line_errors():
        for name in names:
            print(draw(name, FIGURES))


if __name__ == "__main__":
    main()
