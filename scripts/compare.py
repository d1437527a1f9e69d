"""Put runs side by side: ``python scripts/compare.py outputs/mlp/... multirun/lr``."""

import argparse
from pathlib import Path

from dive.errors import one_line_errors


def main() -> None:
    """Print what differs and what came out, and draw all learning curves into one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    help_ = "directories of runs; that of a sweep stands for its jobs"
    parser.add_argument("directories", type=Path, nargs="+", metavar="RUN_DIR", help=help_)
    parser.add_argument(
        "--picture", type=Path, default="compare.png", metavar="FILE.png", help="default: compare.png"
    )
    arguments = parser.parse_args()

    from dive.evaluation.compare import compare_and_plot  # slow to import: --help need not wait

    with one_line_errors():
        compare_and_plot([path.absolute() for path in arguments.directories], arguments.picture)


if __name__ == "__main__":
    main()
