"""SIGTERM and Ctrl-C: a checkpoint is saved, the run exits in bounded time, and no process is run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dive.runs import checkpoint_io

TRAIN = str(Path(__file__).parents[2] / "train.py")
FEW = (
    "callbacks=lean",
    "data=garments",
    "data.num_train=256",
    "data.num_test=64",
    "data.val_size=64",
    "trainer=cpu",
    "model=mlp",
)
SLOW = """
import runpy, sys, time
from dive.tasks.task import Task
step = Task._step
def slow(task, batch, stage):
    print("in a step", flush=True)
    time.sleep(SECONDS)
    return step(task, batch, stage)
Task._step = slow
sys.argv[0] = TRAIN
runpy.run_path(TRAIN, run_name="__main__")
"""


@pytest.mark.fault(13, "SIGTERM while training and validating", "os.kill within a step")
@pytest.mark.parametrize(("stage", "step"), [("train", 17), ("val", 2)])
def test_sigterm_saves_and_exits(
    stage: str, step: int, train_in_subprocess: Any, send_signal: Any, outcome: Callable[[str], None]
) -> None:
    run = train_in_subprocess(do=send_signal(signal.SIGTERM, stage, step))
    assert run.exit == "exited with status 143", run.output
    assert run.result["status"] == "interrupted"
    assert "score" not in run.result
    saved = checkpoint_io.load_checkpoint(run.directory / "checkpoints" / "last.ckpt")["global_step"]
    assert saved == {"train": 17, "val": 20}[stage]
    assert run.output.splitlines()[-1] == f"interrupted; to resume: python train.py resume={run.directory}"
    outcome(f"{stage}: exit status 143, result.json says interrupted, the current step is saved")


@pytest.mark.fault(13, "SIGTERM in the test, SIGINT in training", "os.kill within a step")
@pytest.mark.parametrize(
    ("number", "stage", "status"), [(signal.SIGTERM, "test", 143), (signal.SIGINT, "train", 130)]
)
def test_signals_in_other_stages(
    number: signal.Signals,
    stage: str,
    status: int,
    train_in_subprocess: Any,
    send_signal: Any,
    outcome: Callable[[str], None],
) -> None:
    run = train_in_subprocess(do=send_signal(number, stage, 1))
    assert run.exit == f"exited with status {status}", run.output
    assert run.result["status"] == "interrupted"
    assert checkpoint_io.load_checkpoint(run.directory / "checkpoints" / "last.ckpt")["state_dict"]
    outcome(f"{number.name} in {stage}: exit status {status}, result.json says interrupted")


# Signals from a terminal.


@pytest.fixture
def start_session(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``train.py`` as a session leader, optionally with slow steps; kill the session after the test."""
    leaders = []

    def start(*arguments: str, seconds: float | None = None) -> subprocess.Popen[str]:
        slow = SLOW.replace("SECONDS", str(seconds)).replace("TRAIN", repr(TRAIN))
        process = subprocess.Popen(
            [sys.executable, *([TRAIN] if seconds is None else ["-c", slow]), *arguments, *FEW],
            cwd=tmp_path,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        leaders.append(process)
        return process

    yield start
    for leader in leaders:
        for pid in session(leader.pid):
            os.kill(pid, signal.SIGKILL)
        leader.communicate()


def session(leader: int) -> list[int]:
    """The running processes of a session."""
    alive = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):  # the process has just ended
            continue
        if int(of_session) == leader and state != "Z":
            alive.append(int(stat.parent.name))
    return alive


def until(condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def first_step(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if line.startswith("in a step"):
            return
    pytest.fail("".join(output))


@pytest.mark.fault(
    14, "Ctrl-C once, single run with two workers", "SIGINT to the process group, as a terminal does"
)
def test_ctrl_c_once(start_session: Callable[..., Any], tmp_path: Path, outcome: Callable[[str], None]) -> None:
    run = tmp_path / "run"
    process = start_session("data.num_workers=2", f"hydra.run.dir={run}", seconds=0.5)
    first_step(process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 130
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    assert checkpoint_io.load_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] > 0
    until(lambda: not session(process.pid), 10)
    outcome("exit status 130, interrupted, saved; no process is left")


@pytest.mark.fault(
    14, "Ctrl-C twice, single run", "SIGINT twice to the process group, in a step that takes a minute"
)
def test_ctrl_c_twice(start_session: Callable[..., Any], tmp_path: Path, outcome: Callable[[str], None]) -> None:
    run = tmp_path / "run"
    process = start_session("data.num_workers=2", f"hydra.run.dir={run}", seconds=60)
    first_step(process)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "the first signal waits for the step to finish"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(3) == 130
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    until(lambda: not session(process.pid), 10)
    outcome(
        "the first waits for the step, the second exits at once: exit status 130, interrupted, no process is left"
    )


@pytest.mark.fault(13, "SIGTERM in a step that does not end", "a step that takes a minute")
def test_step_that_does_not_end_is_bounded(
    start_session: Callable[..., Any], tmp_path: Path, outcome: Callable[[str], None]
) -> None:
    run = tmp_path / "run"
    process = start_session(f"hydra.run.dir={run}", seconds=60)
    first_step(process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    outcome("waits 8 s for the step, then exits: exit status 143, interrupted")


@pytest.mark.fault(14, "Ctrl-C in a sweep", "SIGINT to the process group while two jobs train")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_a_sweep(
    times: int, start_session: Callable[..., Any], tmp_path: Path, outcome: Callable[[str], None]
) -> None:
    process = start_session("-m", "seed=0,1,2", "launcher=parallel", "sweep=a", "trainer.max_epochs=100000")
    started = [tmp_path / "multirun" / "a" / f"seed={seed}" for seed in (0, 1)]
    until(lambda: all(list(job.glob("events.*")) for job in started))
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    assert process.wait(20) == 130
    until(lambda: not session(process.pid), 10)
    results = [json.loads((job / "result.json").read_text()) for job in started if (job / "result.json").exists()]
    if times == 1:
        assert [result["status"] for result in results] == ["interrupted", "interrupted"]
    assert not (tmp_path / "multirun" / "a" / "seed=2" / "result.json").exists()
    how = "both jobs save and are interrupted" if times == 1 else "the jobs are killed"
    outcome(f"{'once' if times == 1 else 'twice'}: exit status 130, {how}; no process is left")
