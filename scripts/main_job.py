"""What ``make train`` runs: the main job on Fashion-MNIST, or, where that cannot be had, on drawn garments."""

import os
import subprocess
import sys
from pathlib import Path

from dive.compose import settings
from dive.data import archives, supply
from dive.errors import DataError

TRAIN = os.path.relpath(Path(__file__).parents[1] / "train.py")  # as a person would type it


def main() -> int:
    """Choose the data, say so where it is not the real set, train; arguments go on to ``train.py``."""
    published = settings("data=fashion_mnist")["data"]
    data = []
    try:
        supply.ensure(archives.raw_folder(published["root"]), published["mirror"], published["timeout"])
    except DataError as error:
        why = str(error).removesuffix(archives.HELP).strip()
        print(f"{why} Training on drawn garments instead (data=garments).", flush=True)
        data = ["data=garments"]
    return subprocess.run([sys.executable, TRAIN, "model=mlp", *data, *sys.argv[1:]]).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
