"""Numbers that are none, workers that die, ways to start them."""

import csv
import re
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from dive.runs import checkpoint_io

Differences = Callable[[Path, Path], list[str]]


def nan_in_step(number: int, value: float) -> None:
    """Have the loss of a training step be no number; the gradients follow."""
    from dive.tasks.task import Task

    take_step, counted = Task._step, 0

    def step(task: Task, batch: Any, stage: str) -> Any:
        nonlocal counted
        counted += stage == "train"
        loss = take_step(task, batch, stage)
        return loss * value if stage == "train" and counted == number else loss

    Task._step = step  # type: ignore[method-assign]


@pytest.mark.fault(11, "loss that is NaN, or infinite, in step 25", "loss * NaN, loss * inf")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_ends_the_run_and_is_never_kept(
    value: float, train_apart: Any, outcome: Callable[[str], None]
) -> None:
    left = train_apart(do=partial(nan_in_step, 25, value))
    assert left.ended == "left with exit status 1"
    assert left.result["status"] == "failed"
    assert "score" not in left.result
    kept = {
        name: checkpoint_io.load_checkpoint(left.directory / "checkpoints" / f"{name}.ckpt")
        for name in ("best", "last")
    }
    for name, checkpoint in kept.items():
        assert all(torch.isfinite(weight).all() for weight in checkpoint["state_dict"].values()), name
    assert kept["last"]["global_step"] == 20
    outcome(f"{value}: exit status 1, failed, no score: `{left.result['error']}`; best and last are finite")


@pytest.mark.fault(11, "SIGTERM after a loss that was NaN", "loss * NaN in step 25, SIGTERM in step 26")
def test_no_number_is_saved_on_leaving_either(
    train_apart: Any, signalled: Any, outcome: Callable[[str], None]
) -> None:
    terminate = signalled(signal.SIGTERM, "train", 26)

    def both() -> None:
        nan_in_step(25, float("nan"))
        terminate()

    left = train_apart(do=both)
    assert left.result["status"] == "failed", left.said
    last = checkpoint_io.load_checkpoint(left.directory / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 20
    outcome(f"exit status 1, failed: `{left.result['error']}`; last.ckpt is that of the epoch before")


def kill_a_worker(step: int) -> None:
    """Kill -9 one of the processes that make batches."""
    import multiprocessing

    from dive.tasks.task import Task

    take_step, counted = Task._step, 0

    def killing(task: Task, batch: Any, stage: str) -> Any:
        nonlocal counted
        counted += 1
        if counted == step:
            multiprocessing.active_children()[0].kill()
        return take_step(task, batch, stage)

    Task._step = killing  # type: ignore[method-assign]


@pytest.mark.fault(18, "loader worker killed", "kill -9 of one of two in the third step")
def test_the_death_of_a_worker_is_told(train_apart: Any, outcome: Callable[[str], None]) -> None:
    start = time.monotonic()
    left = train_apart("data.num_workers=2", do=partial(kill_a_worker, 3))
    assert time.monotonic() - start < 60
    assert left.result["status"] == "failed", left.said
    error = left.result["error"]
    # torch may tell of it in the middle of a step, or the next batch does not come.
    assert re.search("DataLoader worker|a worker of the data loader has died", error)
    outcome("the run fails within a minute and says that a worker of the data loader has died")


@pytest.mark.fault(19, "workers under fork, forkserver, spawn; a second fit in one process", "data.worker_start")
def test_however_workers_start_the_numbers_are_the_same(
    train: Callable[..., Any], tmp_path: Path, outcome: Callable[[str], None]
) -> None:
    sizes = ("data=garments", "data.num_train=256", "data.num_test=64", "data.val_size=64", "model=mlp")
    short = (*sizes, "trainer=cpu", "trainer.max_epochs=2", "model.dropout=0.3")
    told = {}
    ways = {"no workers": (), "no workers again": ()} | {
        f"{start}{again}": ("data.num_workers=2", f"data.worker_start={start}")
        for start in ("fork", "forkserver", "spawn")
        for again in ("", " again")
    }
    for way, words in ways.items():
        directory = train(*short, *words).directory
        with (directory / "metrics.csv").open() as file:
            rows = [{k: v for k, v in row.items() if "per_second" not in k} for row in csv.DictReader(file)]
        told[way] = rows, checkpoint_io.load_checkpoint(directory / "checkpoints" / "last.ckpt")["state_dict"]
    metrics, weights = told["no workers"]
    for way, (rows, others) in told.items():
        assert rows == metrics, way
        assert all(torch.equal(weights[name], others[name]) for name in weights), way
    outcome("no hang; metrics and weights equal those without workers, bit for bit, in the second fit too")
