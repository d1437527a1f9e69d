"""What ``make train`` runs: the main job on Fashion-MNIST, or, where that cannot be had, on drawn garments."""

import os
import subprocess
import sys
from pathlib import Path

from dive.config.compose import compose_resolved
from dive.data import archive_files, fashion_mnist_files
from dive.errors import DataError

TRAIN = os.path.relpath(Path(__file__).parents[1] / "train.py")  # as a person would type it


def main() -> int:
    """Choose the data, say so where it is not the real set, train; arguments go on to ``train.py``."""
    published = compose_resolved("data=fashion_mnist")["data"]
    data = []
    try:
        fashion_mnist_files.ensure_downloaded(
            archive_files.raw_folder(published["root"]), published["mirror"], published["timeout"]
        )
    except DataError as error:
        why = str(error).removesuffix(archive_files.HELP).strip()
        print(f"{why} Training on drawn garments instead (data=garments).", flush=True)
        data = ["data=garments"]
    return subprocess.run([sys.executable, TRAIN, "model=mlp", *data, *sys.argv[1:]]).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
