"""An interrupted and resumed run equals an uninterrupted one."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Differences = Callable[[Path, Path], list[str]]

# Ten training steps and one validation step per epoch, four epochs, one test step.
MOMENTS = {
    "in the first step": ("train", 1),
    "in the middle of an epoch": ("train", 17),
    "in the last step of an epoch": ("train", 20),
    "in the last epoch": ("train", 34),
    "in validation": ("val", 2),
    "in the last validation": ("val", 4),
    "in the test": ("test", 1),
}


@pytest.mark.fault(2, "SIGTERM, with dropout, momentum and a scheduler", "os.kill within a step; resume=")
@pytest.mark.parametrize(
    ("num_workers", "callbacks", "moments"),
    [
        (0, "default", list(MOMENTS)),
        (2, "lean", ["in the middle of an epoch", "in the last step of an epoch", "in validation"]),
    ],
    ids=["0 workers", "2 workers"],
)
def test_run_interrupted_anywhere_resumes_bit_identically(
    num_workers: int,
    callbacks: str,
    moments: list[str],
    train_in_subprocess: Any,
    send_signal: Any,
    differences: Differences,
    outcome: Callable[[str], None],
) -> None:
    settings = (f"callbacks={callbacks}", f"data.num_workers={num_workers}")
    uninterrupted = train_in_subprocess(*settings)
    assert uninterrupted.result["status"] == "finished", uninterrupted.output
    for moment in moments:
        stage, step = MOMENTS[moment]
        interrupted = train_in_subprocess(*settings, do=send_signal(signal.SIGTERM, stage, step))
        assert interrupted.exit == "exited with status 143", (moment, interrupted.output)
        assert interrupted.result["status"] == "interrupted"
        resumed = train_in_subprocess(f"resume={interrupted.directory}", directory=interrupted.directory)
        assert resumed.result["status"] == "finished", (moment, resumed.output)
        assert differences(uninterrupted.directory, interrupted.directory) == [], moment
    outcome(
        f"{num_workers} workers: weights, optimizer, random numbers, metrics.csv, TensorBoard and result.json are "
        f"bit-identical to those of an uninterrupted run; interrupted {', '.join(moments)}"
    )


@pytest.mark.fault(2, "SIGKILL in the middle of an epoch", "os.kill within a step; resume=")
@pytest.mark.parametrize("every_n_steps", ["null", "7"])
def test_killed_run_resumes_from_the_last_checkpoint(
    every_n_steps: str,
    train_in_subprocess: Any,
    send_signal: Any,
    differences: Differences,
    outcome: Callable[[str], None],
) -> None:
    saving = f"callbacks.last.every_n_steps={every_n_steps}"
    uninterrupted = train_in_subprocess(saving)
    killed = train_in_subprocess(saving, do=send_signal(signal.SIGKILL, "train", 26))
    assert killed.exit.startswith("killed by SIGKILL")
    assert killed.result == {}
    resumed = train_in_subprocess(f"resume={killed.directory}", directory=killed.directory)
    assert resumed.result["status"] == "finished", resumed.output
    assert differences(uninterrupted.directory, killed.directory) == []
    where = "the last epoch" if every_n_steps == "null" else "the last save within an epoch (every_n_steps=7)"
    outcome(f"resumes from {where}, bit-identical to an uninterrupted run")


@pytest.mark.fault(2, "SIGTERM after early stopping, before the test", "os.kill within the test; resume=")
def test_finished_training_is_not_restarted(
    train_in_subprocess: Any, send_signal: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    early = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "trainer.max_epochs=30")
    uninterrupted = train_in_subprocess(*early)
    assert uninterrupted.result["epochs"] < 30
    interrupted = train_in_subprocess(*early, do=send_signal(signal.SIGTERM, "test", 1))
    train_in_subprocess(f"resume={interrupted.directory}", directory=interrupted.directory)
    assert differences(uninterrupted.directory, interrupted.directory) == []
    outcome("no further epoch is trained; the test is run")


@pytest.mark.fault(23, "truncated event file", "truncated at 60 %; resume=")
def test_events_before_truncation_are_readable_after_resume(
    train_in_subprocess: Any, send_signal: Any, outcome: Callable[[str], None]
) -> None:
    interrupted = train_in_subprocess(do=send_signal(signal.SIGTERM, "train", 25))
    (events,) = interrupted.directory.glob("events.*")
    before = EventAccumulator(str(events)).Reload().Scalars("train/loss")
    events.write_bytes(events.read_bytes()[: int(0.6 * events.stat().st_size)])
    remaining = EventAccumulator(str(events)).Reload().Scalars("train/loss")
    assert len(before) == 2
    assert len(remaining) == 1
    resumed = train_in_subprocess(f"resume={interrupted.directory}", directory=interrupted.directory)
    assert resumed.result["status"] == "finished", resumed.output
    after = EventAccumulator(str(interrupted.directory)).Reload().Scalars("train/loss")
    assert after[0].value == before[0].value
    assert [event.step for event in after] == [9, 29, 39]
    outcome("events before the truncation and after the resume are readable; metrics.csv has every epoch")
    table = (interrupted.directory / "metrics.csv").read_text().splitlines()
    assert len(table) == 1 + 4 + 1


@pytest.mark.fault(25, "ten cycles of kill and resume", "SIGKILL within a step, each time some steps later")
def test_ten_kills_leave_no_stray_files(
    train_in_subprocess: Any, send_signal: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    longer = ("trainer.max_epochs=12", "scheduler.step_size=4")
    uninterrupted = train_in_subprocess(*longer)
    untouched = {path: path.stat().st_mtime_ns for path in uninterrupted.directory.rglob("*")}
    run = train_in_subprocess(*longer, do=send_signal(signal.SIGKILL, "train", 13))
    for cycle in range(10):
        assert run.exit.startswith("killed by SIGKILL")
        assert run.result == {}, cycle
        run = train_in_subprocess(
            f"resume={run.directory}", directory=run.directory, do=send_signal(signal.SIGKILL, "train", 12)
        )
    if run.exit != "exit status 0":
        run = train_in_subprocess(f"resume={run.directory}", directory=run.directory)
    assert run.result["status"] == "finished", run.output
    assert differences(uninterrupted.directory, run.directory) == []

    def files(directory: Path) -> set[str]:
        return {str(path.relative_to(directory)) for path in directory.rglob("*") if "tfevents" not in path.name}

    assert files(run.directory) == files(uninterrupted.directory)
    assert len((run.directory / "command.txt").read_text().splitlines()) >= 11
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.directory.rglob("*")} == untouched
    outcome("bit-identical to an uninterrupted run, with exactly the same files; another run is not modified")
