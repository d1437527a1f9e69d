"""Non-finite losses, dead data loader workers, worker start methods."""

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
    """Make the loss of a training step, and so the gradients, NaN or infinite."""
    from dive.tasks.task import Task

    original, count = Task._step, 0

    def step(task: Task, batch: Any, stage: str) -> Any:
        nonlocal count
        count += stage == "train"
        loss = original(task, batch, stage)
        return loss * value if stage == "train" and count == number else loss

    Task._step = step  # type: ignore[method-assign]


@pytest.mark.fault(11, "loss that is NaN or infinite in step 25", "loss * NaN, loss * inf")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_loss_ends_the_run_and_is_not_saved(
    value: float, train_in_subprocess: Any, outcome: Callable[[str], None]
) -> None:
    run = train_in_subprocess(do=partial(nan_in_step, 25, value))
    assert run.exit == "exited with status 1"
    assert run.result["status"] == "failed"
    assert "score" not in run.result
    checkpoints = {
        name: checkpoint_io.load_checkpoint(run.directory / "checkpoints" / f"{name}.ckpt")
        for name in ("best", "last")
    }
    for name, checkpoint in checkpoints.items():
        assert all(torch.isfinite(weight).all() for weight in checkpoint["state_dict"].values()), name
    assert checkpoints["last"]["global_step"] == 20
    outcome(f"{value}: exit status 1, failed, no score: `{run.result['error']}`; best and last are finite")


@pytest.mark.fault(11, "SIGTERM after a NaN loss", "loss * NaN in step 25, SIGTERM in step 26")
def test_non_finite_weights_are_not_saved_on_sigterm(
    train_in_subprocess: Any, send_signal: Any, outcome: Callable[[str], None]
) -> None:
    terminate = send_signal(signal.SIGTERM, "train", 26)

    def nan_then_sigterm() -> None:
        nan_in_step(25, float("nan"))
        terminate()

    run = train_in_subprocess(do=nan_then_sigterm)
    assert run.result["status"] == "failed", run.output
    last = checkpoint_io.load_checkpoint(run.directory / "checkpoints" / "last.ckpt")
    assert last["global_step"] == 20
    outcome(f"exit status 1, failed: `{run.result['error']}`; last.ckpt is that of the previous epoch")


def kill_worker(step: int) -> None:
    """Kill a data loader worker with SIGKILL."""
    import multiprocessing

    from dive.tasks.task import Task

    original, count = Task._step, 0

    def step_and_kill(task: Task, batch: Any, stage: str) -> Any:
        nonlocal count
        count += 1
        if count == step:
            multiprocessing.active_children()[0].kill()
        return original(task, batch, stage)

    Task._step = step_and_kill  # type: ignore[method-assign]


@pytest.mark.fault(18, "data loader worker killed", "SIGKILL to one of two in the third step")
def test_dead_data_loader_worker_is_reported(train_in_subprocess: Any, outcome: Callable[[str], None]) -> None:
    start = time.monotonic()
    run = train_in_subprocess("data.num_workers=2", do=partial(kill_worker, 3))
    assert time.monotonic() - start < 60
    assert run.result["status"] == "failed", run.output
    error = run.result["error"]
    # torch may report it within a step, or the next batch never arrives.
    assert re.search("DataLoader worker|a worker of the data loader has died", error)
    outcome("the run fails within a minute with an error about the dead data loader worker")


@pytest.mark.fault(19, "workers under fork, forkserver, spawn; a second fit in one process", "data.worker_start")
def test_worker_start_method_does_not_change_the_results(
    train: Callable[..., Any], tmp_path: Path, outcome: Callable[[str], None]
) -> None:
    sizes = ("data=garments", "data.num_train=256", "data.num_test=64", "data.val_size=64", "model=mlp")
    short = (*sizes, "trainer=cpu", "trainer.max_epochs=2", "model.dropout=0.3")
    results = {}
    setups = {"no workers": (), "no workers again": ()} | {
        way: ("data.num_workers=2", f"data.worker_start={way.removesuffix(' again')}")
        for way in ("fork", "fork again", "forkserver", "forkserver again", "spawn")
    }
    for way, arguments in setups.items():
        directory = train(*short, *arguments).directory
        with (directory / "metrics.csv").open() as file:
            rows = [{k: v for k, v in row.items() if "per_second" not in k} for row in csv.DictReader(file)]
        results[way] = rows, checkpoint_io.load_checkpoint(directory / "checkpoints" / "last.ckpt")["state_dict"]
    metrics, weights = results["no workers"]
    for way, (rows, others) in results.items():
        assert rows == metrics, way
        assert all(torch.equal(weights[name], others[name]) for name in weights), way
    outcome("no hang; metrics and weights are bit-identical to those without workers, also in the second fit")
