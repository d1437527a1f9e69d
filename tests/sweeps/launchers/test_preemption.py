"""SLURM jobs that are preempted and requeued."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dive.sweeps.launchers import slurm
from dive.sweeps.launchers.preemption import SIGNALS, finished_earlier, requeue_on_preemption, resumes_checkpoint


@pytest.fixture(autouse=True)
def job(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a job that has been requeued once; restores signal handlers."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send_twice(number: signal.Signals) -> None:
    try:
        os.kill(os.getpid(), number)
    finally:
        os.kill(os.getpid(), number)  # during the exit: ignored


@pytest.mark.parametrize(
    ("number", "state", "limit", "requeued"),
    [
        (signal.SIGUSR1, "RUNNING", 5, ["12_3"]),
        (signal.SIGTERM, "RUNNING", 5, ["12_3"]),
        (signal.SIGTERM, "COMPLETING", 5, []),  # cancelled or already requeued by SLURM
        (signal.SIGUSR1, "RUNNING", 1, []),  # the limit is reached
    ],
)
def test_signal_ends_and_requeues_the_job(
    number: signal.Signals, state: str, limit: int, requeued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(slurm, "squeue", lambda: {"12_3": state})
    monkeypatch.setattr(slurm, "run", lambda *command: commands.append(command))
    with pytest.raises(SystemExit) as caught, requeue_on_preemption(limit):
        send_twice(number)
    assert caught.value.code == 143
    assert commands == [("scontrol", "requeue", job) for job in requeued]


def test_failed_job_is_not_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "run", pytest.fail)
    with pytest.raises(ValueError, match="diverged"), requeue_on_preemption(5):
        raise ValueError("diverged")


def test_requeued_job_resumes_its_checkpoint_or_archives_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "seed=0"
    assert not resumes_checkpoint(directory)
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "last.ckpt").touch()
    assert resumes_checkpoint(directory)
    (directory / "checkpoints" / "last.ckpt").unlink()
    assert not resumes_checkpoint(directory)
    assert not directory.exists()
    assert (tmp_path / ".earlier" / "seed=0.1" / "checkpoints").is_dir()
    directory.mkdir()
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert not resumes_checkpoint(directory)
    assert directory.exists()


def test_requeued_job_that_has_finished_is_detected(tmp_path: Path) -> None:
    assert not finished_earlier(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"status": "finished"}))
    assert finished_earlier(tmp_path)
