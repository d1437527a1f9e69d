"""Measure whole processes, of dive and of a baseline alternately: start-up time, run time and memory."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.paired_timing import PairedTimings, time_in_turn

ROOT = Path(__file__).parents[2]

IMPORT = "import torch, pytorch_lightning"
HOLD_DATA = f"""{IMPORT}
images = torch.ones({{images}}, 28 * 28, dtype=torch.uint8)
floats = images.float()
from dive.runs.run import peak_memory_mb  # imported after the peak
print(peak_memory_mb()["cpu"])
"""
# Runs train.py until the end of its first training step.
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


def run_python(command: Sequence[str]) -> str:
    """Run Python with these arguments in the project's root, and return its output."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout


def seconds(command: Sequence[str]) -> float:
    """Duration of a Python process."""
    start = time.perf_counter()
    run_python(command)
    return time.perf_counter() - start


def in_temporary_run_dir(command: Sequence[str], measure: Callable[[Sequence[str], Path], float]) -> float:
    """Measure a command whose run directory is temporary."""
    with tempfile.TemporaryDirectory() as folder:
        return measure([*command, f"hydra.run.dir={folder}/run"], Path(folder) / "run")


def time_start_up(arguments: Sequence[str], statements: str, repeats: int) -> PairedTimings:
    """``python train.py`` with arguments that train nothing, against a process that runs `statements`."""
    return time_in_turn(partial(seconds, ["train.py", *arguments]), partial(seconds, ["-c", statements]), repeats)


def time_first_step(overrides: Sequence[str], repeats: int) -> PairedTimings:
    """``python train.py`` until the end of its first step, against the import of torch and Lightning."""
    command = ["-c", FIRST_STEP, *overrides]
    dive = partial(in_temporary_run_dir, command, lambda command, _: seconds(command))
    return time_in_turn(dive, partial(seconds, ["-c", IMPORT]), repeats)


def run_seconds(command: Sequence[str], directory: Path) -> float:
    """Duration of a run as recorded in its result.json, without imports."""
    run_python(command)
    return float(json.loads((directory / "result.json").read_text())["seconds"])


def run_peak_memory_mb(command: Sequence[str], directory: Path) -> float:
    """Peak memory of a run as recorded in its result.json."""
    run_python(command)
    return float(json.loads((directory / "result.json").read_text())["peak_memory_mb"]["cpu"])


def time_runs(overrides: Sequence[str], baseline: Sequence[str], repeats: int) -> PairedTimings:
    """Whole runs, against runs with other overrides."""
    dive, other = (
        partial(in_temporary_run_dir, ["train.py", *words], run_seconds) for words in (overrides, baseline)
    )
    return time_in_turn(dive, other, repeats)


def measure_memory(overrides: Sequence[str], images: int, repeats: int) -> PairedTimings:
    """Peak megabytes of a run, against a process that holds the images as bytes and as floats."""
    command = ["train.py", "trainer=cpu", "trainer.max_epochs=2", *overrides]
    dive = partial(in_temporary_run_dir, command, run_peak_memory_mb)
    return time_in_turn(
        dive, lambda: float(run_python(["-c", HOLD_DATA.format(images=images)])), repeats, warm_up=0
    )


def time_sweeps(overrides: Sequence[str], jobs: int) -> PairedTimings:
    """A sweep of one-epoch jobs with the parallel launcher, against the same sweep with the serial one."""
    command = ["train.py", "-m", "trainer=cpu", "trainer.max_epochs=1", *overrides]
    seeds = ",".join(str(seed) for seed in range(jobs))

    def sweep_seconds(launcher: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return seconds([*command, f"seed={seeds}", f"launcher={launcher}", f"hydra.sweep.dir={folder}"])

    return time_in_turn(partial(sweep_seconds, "parallel"), partial(sweep_seconds, "serial"), repeats=1, warm_up=0)
