"""Score a run again, from its directory alone: ``python scripts/evaluate.py outputs/mlp/...``."""

import argparse
from pathlib import Path

from dive.errors import one_line_errors


def main() -> None:
    """Print the metrics of the best epoch beside the recorded ones; exit with status 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, metavar="RUN_DIR", help="the directory of a run")
    parser.add_argument("--split", choices=["val", "test"], help="default: test, or val where there is no test")
    parser.add_argument("--data", metavar="NAME", help="another set than the run's own, such as garments")
    parser.add_argument("--data-at", type=Path, metavar="PATH", help="where the data are by now")
    parser.add_argument("--checkpoint", choices=["best", "last"], help="default: best, where it is kept")
    parser.add_argument(
        "--accelerator", choices=["cpu", "gpu", "cuda", "mps"], help="another than that of the run"
    )
    parser.add_argument("--predictions", type=Path, metavar="FILE.csv", help="write a row an example")
    parser.add_argument("--wrong", type=Path, metavar="FILE.png", help="draw images taken for something else")
    parser.add_argument(
        "--onnx", type=Path, metavar="FILE.onnx", help="write the model (pip install -e '.[export]')"
    )
    parser.add_argument("--torch-export", type=Path, metavar="FILE.pt2", help="write it for torch.export.load")
    arguments = vars(parser.parse_args())

    from dive.evaluation.evaluate import evaluate_run  # slow to import: --help need not wait

    with one_line_errors():
        evaluate_run(arguments.pop("directory").absolute(), **arguments)


if __name__ == "__main__":
    main()
