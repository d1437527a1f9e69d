"""Whole processes, ours and a peer's in turn: how soon they start, how much memory they take."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.paired_timing import PairedTimings, time_in_turn

ROOT = Path(__file__).parents[2]

IMPORT = "import torch, pytorch_lightning"
HOLD_DATA = f"""{IMPORT}
images = torch.ones({{images}}, 28 * 28, dtype=torch.uint8)
floats = images.float()
from dive.runs.run import peak_memory_mb  # after the peak
print(peak_memory_mb()["cpu"])
"""
# train.py, until its first training step is done.
FIRST_STEP = """
import os, runpy, sys
from dive.tasks.task import Task

def step(task, batch, batch_idx, training_step=Task.training_step):
    training_step(task, batch, batch_idx).backward()
    os._exit(0)

Task.training_step = step
sys.argv = ["train.py", *sys.argv[1:]]
runpy.run_path("train.py", run_name="__main__")
"""


def run(command: Sequence[str]) -> str:
    """What a Python process says; it runs in the project's folder."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def seconds(command: Sequence[str]) -> float:
    """How long a Python process takes."""
    start = time.perf_counter()
    run(command)
    return time.perf_counter() - start


def placed(command: Sequence[str], measure: Callable[[Sequence[str], Path], float]) -> float:
    """The figure of a run that leaves its directory in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        return measure([*command, f"hydra.run.dir={folder}/run"], Path(folder) / "run")


def start_up(arguments: Sequence[str], peer: str, repeats: int) -> PairedTimings:
    """``python train.py`` that only answers, against a process that runs the statements of `peer`."""
    return time_in_turn(partial(seconds, ["train.py", *arguments]), partial(seconds, ["-c", peer]), repeats)


def first_step(overrides: Sequence[str], repeats: int) -> PairedTimings:
    """``python train.py`` until its first step is done, against the import of torch and Lightning alone."""
    command = ["-c", FIRST_STEP, *overrides]
    ours = partial(placed, command, lambda whole, _: seconds(whole))
    return time_in_turn(ours, partial(seconds, ["-c", IMPORT]), repeats)


def recorded(command: Sequence[str], directory: Path) -> dict[str, Any]:
    """The result of a run that leaves its directory there."""
    run(command)
    result: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return result


def runs(ours: Sequence[str], theirs: Sequence[str], repeats: int) -> PairedTimings:
    """Whole runs, imports apart, against the same with other overrides."""

    def whole(command: Sequence[str], directory: Path) -> float:
        return float(recorded(command, directory)["seconds"])

    one, other = (partial(placed, ["train.py", *words], whole) for words in (ours, theirs))
    return time_in_turn(one, other, repeats)


def memory(overrides: Sequence[str], images: int, repeats: int) -> PairedTimings:
    """The most megabytes that a run holds, and a process with its images once as bytes and once as floats."""

    def peak(command: Sequence[str], directory: Path) -> float:
        return float(recorded(command, directory)["peak_memory_mb"]["cpu"])

    ours = partial(placed, ["train.py", "trainer=cpu", "trainer.max_epochs=2", *overrides], peak)
    return time_in_turn(ours, lambda: float(run(["-c", HOLD_DATA.format(images=images)])), repeats, warm_up=0)


def sweeps(overrides: Sequence[str], jobs: int) -> PairedTimings:
    """A sweep of one-epoch jobs on all cores, against the same one job by job."""
    command = ["train.py", "-m", "trainer=cpu", "trainer.max_epochs=1", *overrides]
    seeds = ",".join(str(seed) for seed in range(jobs))

    def whole(launcher: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return seconds([*command, f"seed={seeds}", f"launcher={launcher}", f"hydra.sweep.dir={folder}"])

    return time_in_turn(partial(whole, "parallel"), partial(whole, "serial"), repeats=1, warm_up=0)
