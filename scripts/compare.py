"""Put runs side by side: ``python scripts/compare.py outputs/mlp/... multirun/lr``."""

import argparse
from pathlib import Path

from dive.errors import told_in_one_line


def main() -> None:
    """Print what differs and what came out, and draw all learning curves into one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    help_ = "directories of runs; that of a sweep stands for its jobs"
    parser.add_argument("directories", type=Path, nargs="+", metavar="RUN_DIR", help=help_)
    parser.add_argument(
        "--picture", type=Path, default="compare.png", metavar="FILE.png", help="default: compare.png"
    )
    arguments = parser.parse_args()

    from dive.inspection.comparison import compare_and_draw  # slow to import: --help need not wait

    with told_in_one_line():
        compare_and_draw([path.absolute() for path in arguments.directories], arguments.picture)


if __name__ == "__main__":
    main()
