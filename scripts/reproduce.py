"""Run a run again, and say whether it comes to the same: ``python scripts/reproduce.py outputs/mlp/...``."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from dive.errors import one_line_errors


def main() -> None:
    """Exit with status 0 where weights and metrics are identical, to the bit; else with 1, and what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="the directory of a finished run")
    parser.add_argument(
        "--into", type=Path, metavar="DIR", help="where to run it; default: outputs/reproduced/TIME"
    )
    parser.add_argument(
        "--at-revision",
        action="store_true",
        help="with the recorded revision and code.diff: that is code of whoever made the run",
    )
    parser.add_argument("--data-at", type=Path, metavar="PATH", help="where the data are by now")
    arguments = parser.parse_args()
    into = arguments.into or Path("outputs", "reproduced", f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")

    from dive.evaluation.reproduce import reproduce  # slow to import: --help need not wait

    with one_line_errors():
        same = reproduce(arguments.directory.absolute(), into.absolute(), arguments.at_revision, arguments.data_at)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
