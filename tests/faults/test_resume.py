"""A run that was stopped and goes on equals one that was never stopped."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Differences = Callable[[Path, Path], list[str]]

# Ten steps an epoch, four epochs; one step of validation each, one of the test.
MOMENTS = {
    "in the first step": ("train", 1),
    "in mid-epoch": ("train", 17),
    "in the last step of an epoch": ("train", 20),
    "in the last epoch": ("train", 34),
    "in validation": ("val", 2),
    "in the last validation": ("val", 4),
    "in the test": ("test", 1),
}


@pytest.mark.fault(
    2, "stopped by SIGTERM, with dropout, momentum and a scheduler", "os.kill within a step; resume="
)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_stopped_anywhere_goes_on_as_if_it_had_not_been(
    num_workers: int, train_apart: Any, signalled: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    workers = f"data.num_workers={num_workers}"
    straight = train_apart(workers)
    assert straight.result["status"] == "finished", straight.said
    for moment, (stage, step) in MOMENTS.items():
        stopped = train_apart(workers, do=signalled(signal.SIGTERM, stage, step))
        assert stopped.ended == "left with exit status 143", (moment, stopped.said)
        assert stopped.result["status"] == "interrupted"
        resumed = train_apart(f"resume={stopped.directory}", directory=stopped.directory)
        assert resumed.result["status"] == "finished", (moment, resumed.said)
        assert differences(straight.directory, stopped.directory) == [], moment
    outcome(
        f"{num_workers} workers: weights, optimizer, random numbers, metrics.csv, TensorBoard and result.json "
        f"equal those of a run never stopped, bit for bit; stopped {', '.join(MOMENTS)}"
    )


@pytest.mark.fault(2, "killed by SIGKILL in mid-epoch", "os.kill within a step; resume=")
@pytest.mark.parametrize("every_n_steps", ["null", "7"])
def test_a_killed_run_goes_on_from_what_was_saved(
    every_n_steps: str, train_apart: Any, signalled: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    saving = f"callbacks.last.every_n_steps={every_n_steps}"
    straight = train_apart(saving)
    killed = train_apart(saving, do=signalled(signal.SIGKILL, "train", 26))
    assert killed.ended.startswith("killed by SIGKILL")
    assert killed.result == {}
    resumed = train_apart(f"resume={killed.directory}", directory=killed.directory)
    assert resumed.result["status"] == "finished", resumed.said
    assert differences(straight.directory, killed.directory) == []
    where = "the last epoch" if every_n_steps == "null" else "the last save within an epoch (every_n_steps=7)"
    outcome(f"goes on from {where} and ends bit for bit like a run never killed")


@pytest.mark.fault(2, "stopped after early stopping, before the test", "os.kill within the test; resume=")
def test_training_that_had_ended_is_not_begun_again(
    train_apart: Any, signalled: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    early = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "trainer.max_epochs=30")
    straight = train_apart(*early)
    assert straight.result["epochs"] < 30
    stopped = train_apart(*early, do=signalled(signal.SIGTERM, "test", 1))
    train_apart(f"resume={stopped.directory}", directory=stopped.directory)
    assert differences(straight.directory, stopped.directory) == []
    outcome("no further epoch is trained; the test is made up for")


@pytest.mark.fault(23, "event file cut in the middle", "truncated at 60 %; resume=")
def test_events_before_a_cut_can_be_read_after_going_on(
    train_apart: Any, signalled: Any, outcome: Callable[[str], None]
) -> None:
    stopped = train_apart("callbacks=lean", do=signalled(signal.SIGTERM, "train", 25))  # curves alone are cut
    (events,) = stopped.directory.glob("events.*")
    before = EventAccumulator(str(events)).Reload().Scalars("train/loss")
    events.write_bytes(events.read_bytes()[: int(0.6 * events.stat().st_size)])
    left = EventAccumulator(str(events)).Reload().Scalars("train/loss")
    assert len(before) == 2
    assert len(left) == 1
    resumed = train_apart(f"resume={stopped.directory}", directory=stopped.directory)
    assert resumed.result["status"] == "finished", resumed.said
    after = EventAccumulator(str(stopped.directory)).Reload().Scalars("train/loss")
    assert after[0].value == before[0].value
    assert [event.step for event in after] == [9, 29, 39]
    outcome("what lies before the cut is shown, and what was logged after going on; metrics.csv has every epoch")
    table = (stopped.directory / "metrics.csv").read_text().splitlines()
    assert len(table) == 1 + 4 + 1


@pytest.mark.fault(25, "ten cycles of kill and resume", "SIGKILL within a step, each time some steps further")
def test_after_ten_kills_nothing_lies_about(
    train_apart: Any, signalled: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    longer = ("trainer.max_epochs=12", "scheduler.step_size=4")
    straight = train_apart(*longer)
    untouched = {path: path.stat().st_mtime_ns for path in straight.directory.rglob("*")}
    run = train_apart(*longer, do=signalled(signal.SIGKILL, "train", 13))
    for cycle in range(10):
        assert run.ended.startswith("killed by SIGKILL")
        assert run.result == {}, cycle
        run = train_apart(
            f"resume={run.directory}", directory=run.directory, do=signalled(signal.SIGKILL, "train", 12)
        )
    if run.ended != "exit status 0":
        run = train_apart(f"resume={run.directory}", directory=run.directory)
    assert run.result["status"] == "finished", run.said
    assert differences(straight.directory, run.directory) == []

    def left(directory: Path) -> set[str]:
        return {str(path.relative_to(directory)) for path in directory.rglob("*") if "tfevents" not in path.name}

    assert left(run.directory) == left(straight.directory)
    assert len((run.directory / "command.txt").read_text().splitlines()) >= 11
    assert {path: path.stat().st_mtime_ns for path in straight.directory.rglob("*")} == untouched
    outcome(
        "it ends bit for bit like a run never killed, with the same files and no other; another run is untouched"
    )
