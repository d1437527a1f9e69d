"""The last checkpoint: when it is saved, and how a signal is heeded."""

import itertools
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from dive.callbacks import ExactResume, LastCheckpoint
from dive.callbacks.last_checkpoint import max_steps_reached
from dive.data import SyntheticRegression
from dive.models import LinearRegression
from dive.runs import checkpoint_io, signals
from dive.runs.signals import RunInterrupted, SignalHandlers
from dive.tasks.task import RegressionTask
from dive.training.trainer import Trainer

Saved = list[tuple[int, int, int]]


class Told(LastCheckpoint):
    """Writes down what it has saved: epoch, steps, and batches of the epoch."""

    def __init__(self, every_n_steps: int | None = None) -> None:
        super().__init__(every_n_steps)
        self.saved: Saved = []

    def _save(self, trainer: pl.Trainer) -> None:
        super()._save(trainer)
        self.saved.append(state(Path(trainer.default_root_dir)))


def state(folder: Path) -> tuple[int, int, int]:
    """Where the last checkpoint stands."""
    kept = checkpoint_io.load_checkpoint(folder / "checkpoints" / "last.ckpt")
    batches = kept["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    return kept["epoch"], kept["global_step"], batches


def signalling(hook: str, count: int, number: int) -> pl.Callback:
    """An observer that sends this process a signal when a hook is called for the n-th time."""
    calls = itertools.count(1)

    def called(*_: Any) -> None:
        if next(calls) == count:
            os.kill(os.getpid(), number)

    return type("Signalling", (pl.Callback,), {hook: called})()


def unsaid(code: int) -> None:
    raise AssertionError(f"last words, {code}")


def fit(folder: Path, *callbacks: pl.Callback, **settings: Any) -> Trainer:
    """Two epochs of three batches each, and one of validation."""
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[*callbacks, ExactResume()],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"max_epochs": 2, **settings},
    )
    data = SyntheticRegression(w=[2.0, -3.4], b=4.2, noise=0.1, num_train=10, num_val=7, batch_size=4)
    task = RegressionTask(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))
    with SignalHandlers(unsaid):
        trainer.fit(task, data)
    return trainer


def test_each_epoch_is_saved_once_when_it_is_done(tmp_path: Path) -> None:
    last = Told()
    fit(tmp_path, last)
    assert last.saved == [(0, 3, 0), (1, 6, 0)]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("settings", "saved"),
    [
        ({}, [(0, 2, 2), (0, 3, 0), (1, 4, 1), (1, 6, 0)]),
        ({"accumulate_grad_batches": 2, "limit_val_batches": 0}, [(0, 2, 0), (1, 4, 0)]),
        ({"val_check_interval": 2}, [(0, 3, 0), (1, 4, 1), (1, 6, 0)]),  # after two batches validation is due
    ],
)
def test_every_so_many_steps_it_is_saved_within_epochs_too(
    tmp_path: Path, settings: dict[str, Any], saved: Saved
) -> None:
    last = Told(every_n_steps=2)
    fit(tmp_path, last, **settings)
    assert last.saved == saved


def test_a_fast_run_saves_nothing(tmp_path: Path) -> None:
    fit(tmp_path, LastCheckpoint(every_n_steps=1), fast_dev_run=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_in_a_batch_is_heeded_after_it(tmp_path: Path, number: int, code: int) -> None:
    last = Told()
    with pytest.raises(RunInterrupted) as caught:
        fit(tmp_path, signalling("on_train_batch_start", 4, number), last)
    assert caught.value.exit_code == code
    assert last.saved == [(0, 3, 0), (1, 4, 1)]


@pytest.mark.parametrize(
    ("hook", "count", "settings", "saved"),
    [
        ("on_train_batch_start", 3, {}, (0, 3, 3)),  # in the validation that follows
        ("on_train_batch_start", 3, {"limit_val_batches": 0}, (0, 3, 0)),
        ("on_validation_batch_start", 2, {}, (1, 6, 3)),
        ("on_validation_end", 1, {}, (0, 3, 0)),
        ("on_train_epoch_end", 1, {}, (0, 3, 0)),
        ("on_train_epoch_end", 2, {}, (1, 6, 0)),  # when training is through all the same
        ("on_train_batch_start", 1, {"accumulate_grad_batches": 2}, (0, 1, 2)),
        ("on_validation_batch_start", 1, {"val_check_interval": 1, "accumulate_grad_batches": 2}, (0, 1, 2)),
        ("on_train_batch_start", 5, {"max_epochs": -1, "max_steps": 5}, (1, 5, 0)),
        ("on_train_batch_start", 2, {"max_epochs": -1, "max_steps": 2, "val_check_interval": 2}, (0, 2, 0)),
    ],
)
def test_a_signal_is_heeded_where_training_can_go_on_from(
    tmp_path: Path, hook: str, count: int, settings: dict[str, Any], saved: tuple[int, int, int]
) -> None:
    last = Told()
    with pytest.raises(RunInterrupted):
        fit(tmp_path, signalling(hook, count, signal.SIGTERM), last, **settings)
    assert last.saved[-1] == state(tmp_path) == saved
    assert len(last.saved) == len(set(last.saved))  # each once


def test_before_training_and_after_it_signals_are_heeded_at_once(tmp_path: Path) -> None:
    for hook in ("on_fit_start", "on_fit_end"):
        last = Told()
        with pytest.raises(RunInterrupted):
            fit(tmp_path, last, signalling(hook, 1, signal.SIGINT))
        assert len(last.saved) == (2 if hook == "on_fit_end" else 0)
        assert signals._at_next_step is None


def test_among_several_processes_signals_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(signals, "defer", asked.append)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    monkeypatch.setattr(type(trainer), "world_size", 2)
    LastCheckpoint().on_train_start(trainer, pl.LightningModule())
    assert asked == []


@pytest.mark.parametrize(("max_steps", "taken"), [(6, True), (5, True), (7, False), (-1, False), (0, True)])
def test_all_steps_are_taken_where_there_are_no_more_than_so_many(max_steps: int, taken: bool) -> None:
    class Six:
        global_step = 6

    trainer: Any = Six()
    trainer.max_steps = max_steps
    assert max_steps_reached(trainer) is taken
