"""Put runs side by side: ``python scripts/compare.py outputs/mlp/... multirun/lr``."""

import argparse
import sys
from pathlib import Path

from dive.errors import UserError


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

    try:
        compare_and_draw([path.absolute() for path in arguments.directories], arguments.picture)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")


if __name__ == "__main__":
    main()
