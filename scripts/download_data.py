"""Fetch Fashion-MNIST ahead of time, or with ``--from DIR`` import it, and check it."""

import argparse
from pathlib import Path

from dive.config.compose import compose_resolved
from dive.data import archive_files, fashion_mnist_files
from dive.errors import one_line_errors


def main() -> None:
    """Leave the four files, checked, in the data folder; or end with one line that says why not."""
    data = compose_resolved("data=fashion_mnist")["data"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="a folder that holds the four .gz archives"
    )
    parser.add_argument("--root", default=data["root"], help="the data folder (default: $DIVE_DATA, or data)")
    arguments = parser.parse_args()
    folder = archive_files.raw_folder(arguments.root)
    with one_line_errors():
        if arguments.source:
            fashion_mnist_files.import_files(arguments.source, folder)
        fashion_mnist_files.ensure_downloaded(folder, data["mirror"], data["timeout"])
    print(f"Fashion-MNIST is in {folder}, checked.")


if __name__ == "__main__":
    main()
