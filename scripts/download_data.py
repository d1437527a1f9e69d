"""Download Fashion-MNIST, or import it from a local folder with ``--from DIR``, and verify its checksums."""

import argparse
from pathlib import Path

from dive.config.compose import compose_resolved
from dive.data import archive_files, fashion_mnist_files
from dive.errors import one_line_errors


def main() -> None:
    """Put the four verified files into the data folder, or exit with a one-line error."""
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
    print(f"Fashion-MNIST is in {folder}; checksums verified.")


if __name__ == "__main__":
    main()
