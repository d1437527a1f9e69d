"""Sweeps on a real SLURM cluster: jobs that fail, are killed or preempted, and sweeps that are interrupted."""

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
    """A running sweep command."""

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

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds while the sweep runs."""
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def wait(self) -> tuple[int, str]:
        """Wait for the command; return its exit status and output."""
        output, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, output


def queued() -> list[str]:
    listed = subprocess.run(
        ["squeue", "--noheader", "--array", "--format=%i"], capture_output=True, text=True, check=True
    )
    return sorted(listed.stdout.split())


def cancel_all_jobs() -> None:
    subprocess.run(["scancel", "--user=root"], check=True)
    while queued():
        time.sleep(0.1)


Start = Callable[..., Sweep]


@pytest.fixture
def sweep() -> Iterator[Start]:
    """Start sweeps: ``sweep(directory, "seed=0,1")``; they are killed after the test."""
    started = []

    def start(directory: Path, *words: str) -> Sweep:
        started.append(Sweep(directory, *words))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.communicate()
    cancel_all_jobs()


def has_checkpoint(run: Path) -> bool:
    return (run / "checkpoints" / "last.ckpt").exists()


def pid(run: Path) -> int:
    return int(json.loads((run / "environment.json").read_text())["pid"])


def result(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "result.json").read_text())
    return content


def test_sweep_survives_failed_and_killed_jobs(tmp_path: Path, sweep: Callable[..., Sweep]) -> None:
    words = ("optimizer.lr=0.1,0.5,0.2,0.3,0.4,1e30", "trainer.max_epochs=20")
    victim, diverging = tmp_path / "optimizer.lr=0.5", tmp_path / "optimizer.lr=1e+30"
    running = sweep(tmp_path, *words)
    running.wait_until(lambda: has_checkpoint(victim))
    os.kill(pid(victim), signal.SIGKILL)
    code, output = running.wait()
    assert code == 1, output
    assert "6 jobs: 4 finished, " in output
    assert "2 of 6 jobs failed" in output
    report = pd.read_csv(tmp_path / "report.csv").set_index("job")
    assert report["score"].notna().sum() == 4
    assert report.loc[victim.name, "status"] == "killed"
    assert "SLURM state FAILED, exit code 137:0" in report.loc[victim.name, "error"]
    assert report.loc[diverging.name, "status"] == "failed"
    assert "val/loss is nan" in report.loc[diverging.name, "error"]

    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/result.json")}
    code, output = sweep(tmp_path, *words).wait()
    assert code == 1, output
    assert "6 jobs (4 already finished, 1 to resume, 1 to start), by SlurmLauncher" in output
    assert "6 jobs: 5 finished, 1 failed" in output
    changed = {path.parent for path, before in finished.items() if path.stat().st_mtime_ns != before}
    assert changed == {victim, diverging}
    assert result(victim)["epochs"] == 20
    assert queued() == []


def test_preempted_jobs_are_requeued_and_resumed(tmp_path: Path, sweep: Start) -> None:
    running = sweep(tmp_path, "seed=0,1", "trainer.max_epochs=100")
    runs = [tmp_path / f"seed={seed}" for seed in (0, 1)]
    running.wait_until(lambda: all(has_checkpoint(run) for run in runs))
    jobs = queued()
    subprocess.run(["scancel", "--signal=USR1", jobs[0]], check=True)
    subprocess.run(["scontrol", "requeue", jobs[1]], check=True)
    running.wait_until(lambda: all((run / "result.json").exists() for run in runs))
    assert [result(run)["status"] for run in runs] == ["interrupted", "interrupted"]
    assert queued() == jobs
    code, output = running.wait()
    assert code == 0, output
    assert "interrupted" not in output
    for run in runs:
        assert (result(run)["status"], result(run)["epochs"]) == ("finished", 100)
        assert len((run / "command.txt").read_text().splitlines()) == 2
        assert (run / "train.log").read_text().count(" epoch  1 ") == 1
    assert queued() == []


def test_queued_jobs_are_not_submitted_twice_and_ctrl_c_cancels_them(tmp_path: Path, sweep: Start) -> None:
    words = ("seed=0", "trainer.max_epochs=100000")
    running = sweep(tmp_path, *words)
    running.wait_until(lambda: list(tmp_path.glob("*/checkpoints/last.ckpt")))
    code, output = sweep(tmp_path, *words).wait()
    assert code == 1
    assert output.endswith(f"still in SLURM's queue; wait for them, or cancel them: scancel {queued()[0]}\n")

    running.process.send_signal(signal.SIGINT)
    code, output = running.wait()
    assert code == 130, output
    assert queued() == []
    (result_file,) = tmp_path.glob("*/result.json")
    assert result(result_file.parent)["status"] == "interrupted"
    assert "to resume, rerun: python train.py -m" in output


def test_sbatch_error_is_a_one_line_error(tmp_path: Path, sweep: Start) -> None:
    code, output = sweep(tmp_path, "seed=0", "hydra.launcher.delegate.partition=nowhere").wait()
    assert code == 1
    assert output.splitlines()[-1].startswith("error: launcher=slurm: sbatch: error: ")
    assert not list(tmp_path.glob("*/result.json"))
