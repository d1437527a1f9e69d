"""Report a sweep, finished or still running: ``python scripts/sweep_report.py multirun/NAME``."""

import argparse
from pathlib import Path

from rich.console import Console

from dive.errors import one_line_errors
from dive.sweeps import report


def main() -> None:
    """Print the results table, and write report.csv, report.md and report.html into the sweep directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweep", type=Path, help="a sweep directory")
    directory = parser.parse_args().sweep.absolute()
    with one_line_errors():
        report.print_report(report.write_report(directory), Console(highlight=False, soft_wrap=True, markup=False))


if __name__ == "__main__":
    main()
