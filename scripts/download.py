"""Fetch Fashion-MNIST ahead of time, or with ``--from DIR`` import it, and check it."""

import argparse
from pathlib import Path

from dive.compose import settings
from dive.data import archives, supply
from dive.errors import told_in_one_line


def main() -> None:
    """Leave the four files, checked, in the data folder; or end with one line that says why not."""
    data = settings("data=fashion_mnist")["data"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="a folder that holds the four .gz archives"
    )
    parser.add_argument("--root", default=data["root"], help="the data folder (default: $DIVE_DATA, or data)")
    arguments = parser.parse_args()
    folder = archives.raw_folder(arguments.root)
    with told_in_one_line():
        if arguments.source:
            supply.import_from(arguments.source, folder)
        supply.ensure(folder, data["mirror"], data["timeout"])
    print(f"Fashion-MNIST is in {folder}, checked.")


if __name__ == "__main__":
    main()
