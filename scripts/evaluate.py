"""Evaluate a run from its directory: ``python scripts/evaluate.py outputs/mlp/...``."""

import argparse
from pathlib import Path

from dive.errors import one_line_errors


def main() -> None:
    """Print the metrics of a checkpoint beside the recorded ones; exit with status 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="a run directory")
    parser.add_argument("--split", choices=["val", "test"], help="default: test, or val if there is no test split")
    parser.add_argument("--data", metavar="NAME", help="evaluate on another data set, such as garments")
    parser.add_argument("--data-at", type=Path, metavar="PATH", help="the data's location, if it has moved")
    parser.add_argument("--checkpoint", choices=["best", "last"], help="default: best, if it was saved")
    parser.add_argument("--accelerator", choices=["cpu", "gpu", "cuda", "mps"], help="default: the run's own")
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE.csv", help="save the predictions, one row per example"
    )
    parser.add_argument("--wrong", type=Path, metavar="FILE.png", help="plot the most confident mistakes")
    parser.add_argument(
        "--onnx", type=Path, metavar="FILE.onnx", help="export to ONNX (needs pip install -e '.[export]')"
    )
    parser.add_argument("--torch-export", type=Path, metavar="FILE.pt2", help="export for torch.export.load")
    arguments = vars(parser.parse_args())

    from dive.evaluation.evaluate import evaluate_run  # slow import, not needed for --help

    with one_line_errors():
        evaluate_run(arguments.pop("directory").absolute(), **arguments)


if __name__ == "__main__":
    main()
