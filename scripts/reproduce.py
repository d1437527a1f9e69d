"""Rerun a finished run and compare the results: ``python scripts/reproduce.py outputs/mlp/...``."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from dive.errors import one_line_errors


def main() -> None:
    """Exit with status 0 if weights and metrics are equal bit for bit; else print what differs and exit with 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="the directory of a finished run")
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="directory of the new run (default: outputs/reproduced/TIME)"
    )
    parser.add_argument(
        "--at-revision",
        action="store_true",
        help="use the recorded git revision and code.diff; this executes code from the run directory",
    )
    parser.add_argument("--data-at", type=Path, metavar="PATH", help="the data's location, if it has moved")
    arguments = parser.parse_args()
    into = arguments.into or Path("outputs", "reproduced", f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")

    from dive.evaluation.reproduce import reproduce  # slow import, not needed for --help

    with one_line_errors():
        same = reproduce(arguments.directory.absolute(), into.absolute(), arguments.at_revision, arguments.data_at)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
