"""Train the MLP on Fashion-MNIST, or on synthetic garments if Fashion-MNIST is unavailable: ``make train``."""

import os
import subprocess
import sys
from pathlib import Path

from dive.config.compose import compose_resolved
from dive.data import archive_files, fashion_mnist_files
from dive.errors import DataError

TRAIN = os.path.relpath(Path(__file__).parents[1] / "train.py")  # short, because it is printed and recorded


def main() -> int:
    """Choose the data set, print why if it is not Fashion-MNIST, and pass all arguments on to ``train.py``."""
    settings = compose_resolved("data=fashion_mnist")["data"]
    data = []
    try:
        fashion_mnist_files.ensure_downloaded(
            archive_files.raw_folder(settings["root"]), settings["mirror"], settings["timeout"]
        )
    except DataError as error:
        reason = str(error).removesuffix(archive_files.HELP).strip()
        print(f"{reason} Training on synthetic garments instead (data=garments).", flush=True)
        data = ["data=garments"]
    return subprocess.run([sys.executable, TRAIN, "model=mlp", *data, *sys.argv[1:]]).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
