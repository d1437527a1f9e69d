"""Plot the figures of the book pages into docs/figures/: all of them, or those named."""

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from dive.errors import one_line_errors
from pages import classification, linear_regression, multilayer_perceptrons
from pages.style import plot_style

FOLDER = Path(__file__).parents[1] / "docs" / "figures"

# All figures by file name: the public functions of the modules in pages/.
FIGURES: dict[str, Callable[[], Figure]] = {
    name: function
    for page in (linear_regression, classification, multilayer_perceptrons)
    for name, function in inspect.getmembers(page, inspect.isfunction)
    if function.__module__ == page.__name__ and not name.startswith("_")
}


def save_figure(name: str, folder: Path) -> Path:
    """Plot one of `FIGURES` and save it as SVG in `folder`; return its path."""
    path = folder / f"{name}.svg"
    with plot_style():
        FIGURES[name]().savefig(path, metadata={"Date": None})
    return path


def main() -> None:
    """Plot the figures named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=FIGURES, metavar="NAME", help=", ".join(FIGURES))
    names = parser.parse_args().names or FIGURES
    with one_line_errors():
        for name in names:
            print(save_figure(name, FOLDER))


if __name__ == "__main__":
    main()
