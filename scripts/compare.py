"""Compare runs: ``python scripts/compare.py outputs/mlp/... multirun/lr``."""

import argparse
from pathlib import Path

from dive.errors import one_line_errors


def main() -> None:
    """Print a table of differing settings and results, and plot all learning curves into one figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    help_ = "run directories; a sweep directory is replaced by those of all its jobs"
    parser.add_argument("directories", type=Path, nargs="+", metavar="RUN_DIR", help=help_)
    parser.add_argument(
        "--picture",
        type=Path,
        default="compare.png",
        metavar="FILE.png",
        help="where to save the figure (default: compare.png)",
    )
    arguments = parser.parse_args()

    from dive.evaluation.compare import compare_and_plot  # slow import, not needed for --help

    with one_line_errors():
        compare_and_plot([path.absolute() for path in arguments.directories], arguments.picture)


if __name__ == "__main__":
    main()
