"""Sweeps on a real SLURM: jobs that fail, are killed, are preempted; and the end of a sweep before theirs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
TINY = (
    "launcher=slurm",
    "hydra.launcher.delegate.cpus_per_task=1",
    "hydra.launcher.delegate.mem_gb=2",
    "model=mlp",
    "model.num_hiddens=[8]",
    "data=garments",
    "data.num_train=256",
    "data.num_test=64",
    "data.val_size=64",
    "trainer=cpu",
)
LIMIT_S = 120.0


class Sweep:
    """A command that runs a sweep in a directory, until it ends or the test does."""

    def __init__(self, directory: Path, *words: str) -> None:
        command = [sys.executable, "train.py", "-m", *TINY, *words, f"hydra.sweep.dir={directory}"]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"COLUMNS": "200"},
        )

    def until(self, happened: Callable[[], object]) -> None:
        """Wait for something that is to happen while the sweep runs."""
        deadline = time.monotonic() + LIMIT_S
        while not happened():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Its exit status, and all that it said."""
        said, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, said


def queued() -> list[str]:
    listed = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, check=True
    )
    return sorted(listed.stdout.split())


def empty_the_queue() -> None:
    subprocess.run(["scancel", "--user=root"], check=True)
    while queued():
        time.sleep(0.1)


Start = Callable[..., Sweep]


@pytest.fixture
def sweep() -> Iterator[Start]:
    """Starts sweeps: ``sweep(directory, "seed=0,1")``."""
    started = []

    def start(directory: Path, *words: str) -> Sweep:
        started.append(Sweep(directory, *words))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()
    empty_the_queue()


def has_an_epoch(run: Path) -> bool:
    return (run / "checkpoints" / "last.ckpt").exists()


def pid(run: Path) -> int:
    return int(json.loads((run / "environment.json").read_text())["pid"])


def result(run: Path) -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads((run / "result.json").read_text())
    return recorded


def test_a_sweep_survives_a_job_that_fails_and_one_that_is_killed(
    tmp_path: Path, sweep: Callable[..., Sweep]
) -> None:
    words = ("optimizer.lr=0.1,0.5,0.2,0.3,0.4,1e30", "trainer.max_epochs=20")
    victim, diverging = tmp_path / "optimizer.lr=0.5", tmp_path / "optimizer.lr=1e+30"
    running = sweep(tmp_path, *words)
    running.until(lambda: has_an_epoch(victim))
    os.kill(pid(victim), signal.SIGKILL)
    code, said = running.end()
    assert code == 1, said
    assert "6 jobs: 4 finished, " in said
    assert "2 of 6 jobs failed" in said
    report = pd.read_csv(tmp_path / "report.csv").set_index("job")
    assert report["score"].notna().sum() == 4
    assert report.loc[victim.name, "status"] == "killed"
    assert "SLURM state FAILED, exit code 137:0" in report.loc[victim.name, "error"]
    assert report.loc[diverging.name, "status"] == "failed"
    assert "val/loss is nan" in report.loc[diverging.name, "error"]

    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    code, said = sweep(tmp_path, *words).end()
    assert code == 1, said
    assert "6 jobs (4 already finished, 1 to resume, 1 to start), by SlurmLauncher" in said
    assert "6 jobs: 5 finished, 1 failed" in said
    changed = {path.parent for path, before in finished.items() if path.stat().st_mtime_ns != before}
    assert changed == {victim, diverging}
    assert result(victim)["epochs"] == 20
    assert queued() == []


def test_preempted_jobs_are_requeued_and_go_on(tmp_path: Path, sweep: Start) -> None:
    running = sweep(tmp_path, "seed=0,1", "trainer.max_epochs=100")
    runs = [tmp_path / f"seed={seed}" for seed in (0, 1)]
    running.until(lambda: all(has_an_epoch(run) for run in runs))
    jobs = queued()
    subprocess.run(["scancel", "--signal=USR1", jobs[0]], check=True)
    subprocess.run(["scontrol", "requeue", jobs[1]], check=True)
    running.until(lambda: all((run / "result.json").exists() for run in runs))
    assert [result(run)["status"] for run in runs] == ["interrupted", "interrupted"]
    assert queued() == jobs
    code, said = running.end()
    assert code == 0, said
    assert "interrupted" not in said
    for run in runs:
        assert (result(run)["status"], result(run)["epochs"]) == ("finished", 100)
        assert len((run / "command.txt").read_text().splitlines()) == 2
        assert (run / "train.log").read_text().count(" epoch  1 ") == 1
    assert queued() == []


def test_jobs_in_the_queue_are_not_started_twice_and_ctrl_c_takes_them_away(tmp_path: Path, sweep: Start) -> None:
    words = ("seed=0", "trainer.max_epochs=100000")
    running = sweep(tmp_path, *words)
    running.until(lambda: list(tmp_path.glob("*/checkpoints/last.ckpt")))
    code, said = sweep(tmp_path, *words).end()
    assert code == 1
    assert said.endswith(f"still in SLURM's queue; wait for them, or cancel them: scancel {queued()[0]}\n")

    running.process.send_signal(signal.SIGINT)
    code, said = running.end()
    assert code == 130, said
    assert queued() == []
    (left,) = tmp_path.glob("*/result.json")
    assert result(left.parent)["status"] == "interrupted"
    assert "to resume, rerun: python train.py -m" in said


def test_what_sbatch_refuses_is_told_in_a_line(tmp_path: Path, sweep: Start) -> None:
    code, said = sweep(tmp_path, "seed=0", "hydra.launcher.delegate.partition=nowhere").end()
    assert code == 1
    assert said.splitlines()[-1].startswith("error: launcher=slurm: sbatch: error: ")
    assert not list(tmp_path.glob("*/result.json"))
