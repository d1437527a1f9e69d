"""Measure every experiment over five seeds; write cost and score into its header and into the README's table."""

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
REPORTED = ("val/acc", "error/w", "error/b", "val/mse")


def run(experiment: str, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """The results of an experiment, one a seed."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train.py", "-m", f"experiment={experiment}", f"seed={SEEDS}", f"hydra.sweep.dir={folder}"]
        subprocess.run([sys.executable, *command, *overrides], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
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
    """The last epoch's metrics over the seeds, those of `REPORTED` that there are."""
    final = [result["metrics"]["final"] for result in results]
    names = [name for name in REPORTED if name in final[0] and not (name == "val/mse" and "error/w" in final[0])]
    return ", ".join(f"{name} {spread([row[name] for row in final])}" for name in names)


def write_header(experiment: str, cost: str, score: str) -> tuple[str, str]:
    """Put cost and score into an experiment's header; returns its section of the book and its title.

    Raises:
        ValueError: the header has no line such as ``# Book 5.2.2: a multilayer perceptron.``
    """
    path = EXPERIMENTS / f"{experiment}.yaml"
    text = path.read_text()
    text = re.sub(r"(?m)^#   cost .*$", f"#   cost      {cost}", text)
    text = re.sub(r"(?m)^#   expected .*$", f"#   expected  {score} (last epoch, seeds {SEEDS})", text)
    title = re.search(r"(?m)^# Book (.*?): (.*)\.$", text)
    if title is None:
        raise ValueError(f"{path} does not state its section of the book")
    path.write_text(text)
    return title[1], title[2]


def main() -> None:
    """Run the experiments, one after the other, and write what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", help="go to every run, such as data.root=DIR")
    arguments = parser.parse_args()
    rows = ["| book | what | score | command |", "|---|---|---|---|"]
    for experiment in sorted(path.stem for path in EXPERIMENTS.glob("*.yaml")):
        results = run(experiment, arguments.overrides)
        seconds = statistics.median(result["seconds"] for result in results)
        score = scores(results)
        cost = f"{seconds:.0f} s on {torch.get_num_threads()} CPU cores, after the imports"
        section, what = write_header(experiment, cost, score)
        rows.append(f"| {section} | {what} | {score} | `python train.py experiment={experiment}` |")
        print(rows[-1], flush=True)
    readme = ROOT / "README.md"
    table = "\n".join(rows[:2] + sorted(rows[2:], key=section_number))
    text = readme.read_text()
    readme.write_text(re.sub(r"(?s)(<!-- scores -->\n).*?(<!-- /scores -->)", rf"\g<1>{table}\n\g<2>", text))


def section_number(row: str) -> list[int]:
    """The section's numbers, to sort by; 5.2.4 comes after 5.2.2, and 10.1 after 9.9."""
    return [int(number) for number in re.findall(r"\d+", row.split("|")[1])]


if __name__ == "__main__":
    main()
