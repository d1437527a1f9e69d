"""Run experiments over five seeds; write cost and score into their headers, and the table into the README."""

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


def run_experiment(experiment: str) -> list[dict[str, Any]]:
    """Run an experiment once per seed; return the contents of each result.json."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train.py", "-m", f"experiment={experiment}", f"seed={SEEDS}", f"hydra.sweep.dir={folder}"]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        results = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*/result.json"))]
    if len(results) != len(SEEDS.split(",")):
        raise RuntimeError(f"experiment={experiment}: {len(results)} results for seeds {SEEDS}")
    return results


def mean_and_std(values: Sequence[float]) -> str:
    """Mean, to three significant digits, and standard deviation.

    >>> mean_and_std([0.84, 0.85, 0.86])
    '0.85 ± 0.01'
    """
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values):.1g}"


def format_scores(results: Sequence[dict[str, Any]]) -> str:
    """Best and last accuracy over the seeds; else the errors of the coefficients; else the validation loss."""
    best, final = ([result["metrics"][which] for result in results] for which in ("best", "final"))
    if "val/acc" in final[0]:
        last = mean_and_std([row["val/acc"] for row in final])
        return f"val/acc {mean_and_std([row['val/acc'] for row in best])} (last epoch {last})"
    if "error/w" in final[0]:
        names = ("error/w", "error/b")
        return ", ".join(f"{name} {mean_and_std([row[name] for row in final])}" for name in names)
    return f"val/loss {mean_and_std([row['val/loss'] for row in final])}"


def write_header(experiment: str, cost: str, score: str) -> None:
    """Write cost and score into the header comment of an experiment's YAML file."""
    path = EXPERIMENTS / f"{experiment}.yaml"
    text = path.read_text()
    text = re.sub(r"(?m)^#   cost .*$", f"#   cost      {cost}", text)
    path.write_text(re.sub(r"(?m)^#   expected .*$", f"#   expected  {score}; seeds {SEEDS}", text))


def read_row(path: Path) -> str:
    """Make a row of the README's table from the header of an experiment.

    Raises:
        ValueError: the header has no line such as ``# Book 5.2.2: a multilayer perceptron.``
    """
    text = path.read_text()
    title = re.search(r"(?m)^# Book (.*?): (.*)\.$", text)
    score = re.search(r"(?m)^#   expected  (.*); seeds", text)
    if title is None or score is None:
        raise ValueError(f"{path}: the header does not name a book section, or the score was not measured yet")
    return f"| {title[1]} | {title[2]} | {score[1]} | `python train.py experiment={path.stem}` |"


def section_number(row: str) -> list[int]:
    """The book section of a row as a sort key: 5.2.4 comes after 5.2.2, and 10.1 after 9.9."""
    return [int(number) for number in re.findall(r"\d+", row.split("|")[1])]


def main() -> None:
    """Run the experiments one by one and write their scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    experiments = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))
    parser.add_argument("experiments", nargs="*", choices=experiments, metavar="EXPERIMENT", help="default: all")
    for experiment in parser.parse_args().experiments or experiments:
        results = run_experiment(experiment)
        scores = format_scores(results)
        seconds = statistics.median(result["seconds"] for result in results)
        write_header(
            experiment, f"{seconds:.2g} s on {torch.get_num_threads()} CPU cores, without imports", scores
        )
        print(experiment, scores, flush=True)
    rows = sorted((read_row(path) for path in EXPERIMENTS.glob("*.yaml")), key=section_number)
    table = "\n".join(["| book | experiment | score | command |", "|---|---|---|---|", *rows])
    readme = ROOT / "README.md"
    text = readme.read_text()
    readme.write_text(re.sub(r"(?s)(<!-- scores -->\n).*?(<!-- /scores -->)", rf"\g<1>{table}\n\g<2>", text))


if __name__ == "__main__":
    main()
