"""Jobs that a cluster stops and starts again."""

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
    """Environment and signals of a job that has been requeued once."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signalled_twice(number: signal.Signals) -> None:
    try:
        os.kill(os.getpid(), number)
    finally:
        os.kill(os.getpid(), number)  # while it leaves: not heeded


@pytest.mark.parametrize(
    ("number", "state", "limit", "requeued"),
    [
        (signal.SIGUSR1, "RUNNING", 5, ["12_3"]),
        (signal.SIGTERM, "RUNNING", 5, ["12_3"]),
        (signal.SIGTERM, "COMPLETING", 5, []),  # cancelled, or requeued already: SLURM's own doing
        (signal.SIGUSR1, "RUNNING", 1, []),  # it was once, and may not again
    ],
)
def test_a_signal_ends_a_job_and_requeues_it(
    number: signal.Signals, state: str, limit: int, requeued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(slurm, "queue", lambda: {"12_3": state})
    monkeypatch.setattr(slurm, "requeue", asked.append)
    with pytest.raises(SystemExit) as left, requeue_on_preemption(limit):
        signalled_twice(number)
    assert left.value.code == 143
    assert asked == requeued


def test_a_job_that_fails_is_not_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "requeue", pytest.fail)
    with pytest.raises(ValueError, match="diverged"), requeue_on_preemption(5):
        raise ValueError("diverged")


def test_another_attempt_goes_on_from_a_checkpoint_or_makes_room(
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


def test_a_finished_job_that_is_requeued_has_nothing_to_do(tmp_path: Path) -> None:
    assert not finished_earlier(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"status": "finished"}))
    assert finished_earlier(tmp_path)
