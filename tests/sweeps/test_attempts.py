"""Jobs that a cluster stops and starts again."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from dive import slurm
from dive.sweeps.attempts import SIGNALS, goes_on, is_finished, preemptible


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
    with pytest.raises(SystemExit) as left, preemptible(limit):
        signalled_twice(number)
    assert left.value.code == 143
    assert asked == requeued


def test_a_job_that_fails_is_not_requeued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "requeue", pytest.fail)
    with pytest.raises(ValueError, match="diverged"), preemptible(5):
        raise ValueError("diverged")


def test_another_attempt_goes_on_from_a_checkpoint_or_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "seed=0"
    assert not goes_on(directory)
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "last.ckpt").touch()
    assert goes_on(directory)
    (directory / "checkpoints" / "last.ckpt").unlink()
    assert not goes_on(directory)
    assert not directory.exists()
    assert (tmp_path / ".earlier" / "seed=0.1" / "checkpoints").is_dir()
    directory.mkdir()
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    assert not goes_on(directory)
    assert directory.exists()


def test_a_finished_job_that_is_requeued_has_nothing_to_do(tmp_path: Path) -> None:
    assert not is_finished(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"status": "finished"}))
    assert is_finished(tmp_path)
