"""Measure experiments over five seeds; write cost and score into their headers, and those into the README."""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "conf" / "experiment"
SEEDS = "0,1,2,3,4"


def run(experiment: str) -> list[dict[str, Any]]:
    """The results of an experiment, one a seed."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train.py", "-m", f"experiment={experiment}", f"seed={SEEDS}", f"hydra.sweep.dir={folder}"]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        results = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*/result.json"))]
    if len(results) != len(SEEDS.split(",")):
        raise RuntimeError(f"experiment={experiment} left {len(results)} results for the seeds {SEEDS}")
    return results


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation, to three significant digits.

    >>> spread([0.84, 0.85, 0.86])
    '0.85 ± 0.01'
    """
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values):.1g}"


def scores(results: Sequence[dict[str, Any]]) -> str:
    """Over the seeds: the best and the last epoch's accuracy, else the errors of estimates, else the loss."""
    best, final = ([result["metrics"][which] for result in results] for which in ("best", "final"))
    if "val/acc" in final[0]:
        last = spread([row["val/acc"] for row in final])
        return f"val/acc {spread([row['val/acc'] for row in best])} (last epoch {last})"
    if "error/w" in final[0]:
        return ", ".join(f"{name} {spread([row[name] for row in final])}" for name in ("error/w", "error/b"))
    return f"val/loss {spread([row['val/loss'] for row in final])}"


def write_header(experiment: str, cost: str, score: str) -> None:
    """Put cost and score into an experiment's header."""
    path = EXPERIMENTS / f"{experiment}.yaml"
    text = path.read_text()
    text = re.sub(r"(?m)^#   cost .*$", f"#   cost      {cost}", text)
    path.write_text(re.sub(r"(?m)^#   expected .*$", f"#   expected  {score}; seeds {SEEDS}", text))


def read_row(path: Path) -> str:
    """A row of the README's table from an experiment's header.

    Raises:
        ValueError: the header has no line such as ``# Book 5.2.2: a multilayer perceptron.``
    """
    text = path.read_text()
    title = re.search(r"(?m)^# Book (.*?): (.*)\.$", text)
    score = re.search(r"(?m)^#   expected  (.*); seeds", text)
    if title is None or score is None:
        raise ValueError(f"{path} does not state its section of the book, or has not been measured")
    return f"| {title[1]} | {title[2]} | {score[1]} | `python train.py experiment={path.stem}` |"


def main() -> None:
    """Run the experiments, one after the other, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    everything = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))
    parser.add_argument("experiments", nargs="*", choices=everything, metavar="EXPERIMENT", help="default: all")
    for experiment in parser.parse_args().experiments or everything:
        results = run(experiment)
        seconds = statistics.median(result["seconds"] for result in results)
        write_header(
            experiment, f"{seconds:.2g} s on {torch.get_num_threads()} CPU cores, imports apart", scores(results)
        )
        print(experiment, scores(results), flush=True)
    rows = sorted((read_row(path) for path in EXPERIMENTS.glob("*.yaml")), key=section_number)
    table = "\n".join(["| book | what | score | command |", "|---|---|---|---|", *rows])
    readme = ROOT / "README.md"
    text = readme.read_text()
    readme.write_text(re.sub(r"(?s)(<!-- scores -->\n).*?(<!-- /scores -->)", rf"\g<1>{table}\n\g<2>", text))


def section_number(row: str) -> list[int]:
    """The section's numbers, to sort by; 5.2.4 comes after 5.2.2, and 10.1 after 9.9."""
    return [int(number) for number in re.findall(r"\d+", row.split("|")[1])]


if __name__ == "__main__":
    main()
