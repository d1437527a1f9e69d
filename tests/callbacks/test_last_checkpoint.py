"""LastCheckpoint: when it saves, and how it handles signals."""

import itertools
import os
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace
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


class RecordingLastCheckpoint(LastCheckpoint):
    """Records each save: epoch, steps, and batches of the epoch."""

    def __init__(self, every_n_steps: int | None = None) -> None:
        super().__init__(every_n_steps)
        self.saved: Saved = []

    def _save(self, trainer: pl.Trainer) -> None:
        super()._save(trainer)
        self.saved.append(progress(Path(trainer.default_root_dir)))


def progress(folder: Path) -> tuple[int, int, int]:
    """Epoch, steps, and batches of the epoch in the last checkpoint."""
    checkpoint = checkpoint_io.load_checkpoint(folder / "checkpoints" / "last.ckpt")
    batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]["completed"]
    return checkpoint["epoch"], checkpoint["global_step"], batches


def send_signal(hook: str, count: int, number: int) -> pl.Callback:
    """A callback that sends this process a signal when a hook is called for the n-th time."""
    calls = itertools.count(1)

    def on_hook(*_: Any) -> None:
        if next(calls) == count:
            os.kill(os.getpid(), number)

    return type("SendSignal", (pl.Callback,), {hook: on_hook})()


def fail_on_forced_exit(code: int) -> None:
    raise AssertionError(f"forced exit with code {code}")


def fit(folder: Path, *callbacks: pl.Callback, **settings: Any) -> Trainer:
    """Two epochs of three training batches and one validation batch."""
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
    with SignalHandlers(fail_on_forced_exit):
        trainer.fit(task, data)
    return trainer


def test_each_epoch_is_saved_once_after_it_ends(tmp_path: Path) -> None:
    last = RecordingLastCheckpoint()
    fit(tmp_path, last)
    assert last.saved == [(0, 3, 0), (1, 6, 0)]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(
    ("settings", "saved"),
    [
        ({}, [(0, 2, 2), (0, 3, 0), (1, 4, 1), (1, 6, 0)]),
        ({"accumulate_grad_batches": 2, "limit_val_batches": 0}, [(0, 2, 0), (1, 4, 0)]),
        ({"val_check_interval": 2}, [(0, 3, 0), (1, 4, 1), (1, 6, 0)]),  # validation is due after two batches
    ],
)
def test_every_n_steps_also_saves_within_epochs(tmp_path: Path, settings: dict[str, Any], saved: Saved) -> None:
    last = RecordingLastCheckpoint(every_n_steps=2)
    fit(tmp_path, last, **settings)
    assert last.saved == saved


def test_fast_dev_run_saves_nothing(tmp_path: Path) -> None:
    fit(tmp_path, LastCheckpoint(every_n_steps=1), fast_dev_run=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_during_a_batch_is_handled_after_the_batch(tmp_path: Path, number: int, code: int) -> None:
    last = RecordingLastCheckpoint()
    with pytest.raises(RunInterrupted) as caught:
        fit(tmp_path, send_signal("on_train_batch_start", 4, number), last)
    assert caught.value.exit_code == code
    assert last.saved == [(0, 3, 0), (1, 4, 1)]


@pytest.mark.parametrize(
    ("hook", "count", "settings", "saved"),
    [
        ("on_train_batch_start", 3, {}, (0, 3, 3)),  # handled during the following validation
        ("on_train_batch_start", 3, {"limit_val_batches": 0}, (0, 3, 0)),
        ("on_validation_batch_start", 2, {}, (1, 6, 3)),
        ("on_validation_end", 1, {}, (0, 3, 0)),
        ("on_train_epoch_end", 1, {}, (0, 3, 0)),
        ("on_train_epoch_end", 2, {}, (1, 6, 0)),  # training is complete anyway
        ("on_train_batch_start", 1, {"accumulate_grad_batches": 2}, (0, 1, 2)),
        ("on_validation_batch_start", 1, {"val_check_interval": 1, "accumulate_grad_batches": 2}, (0, 1, 2)),
        ("on_train_batch_start", 5, {"max_epochs": -1, "max_steps": 5}, (1, 5, 0)),
        ("on_train_batch_start", 2, {"max_epochs": -1, "max_steps": 2, "val_check_interval": 2}, (0, 2, 0)),
    ],
)
def test_signal_is_handled_where_training_can_resume(
    tmp_path: Path, hook: str, count: int, settings: dict[str, Any], saved: tuple[int, int, int]
) -> None:
    last = RecordingLastCheckpoint()
    with pytest.raises(RunInterrupted):
        fit(tmp_path, send_signal(hook, count, signal.SIGTERM), last, **settings)
    assert last.saved[-1] == progress(tmp_path) == saved
    assert len(last.saved) == len(set(last.saved))  # no state is saved twice


def test_signals_before_and_after_training_are_handled_immediately(tmp_path: Path) -> None:
    for hook in ("on_fit_start", "on_fit_end"):
        last = RecordingLastCheckpoint()
        with pytest.raises(RunInterrupted):
            fit(tmp_path, last, send_signal(hook, 1, signal.SIGINT))
        assert len(last.saved) == (2 if hook == "on_fit_end" else 0)
        assert signals._on_interrupt is None


def test_signals_are_not_deferred_with_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    deferred: list[Any] = []
    monkeypatch.setattr(signals, "defer_interrupt", deferred.append)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    monkeypatch.setattr(type(trainer), "world_size", 2)
    LastCheckpoint().on_train_start(trainer, pl.LightningModule())
    assert deferred == []


@pytest.mark.parametrize(("max_steps", "reached"), [(6, True), (5, True), (7, False), (-1, False), (0, True)])
def test_max_steps_reached(max_steps: int, reached: bool) -> None:
    trainer: Any = SimpleNamespace(global_step=6, max_steps=max_steps)
    assert max_steps_reached(trainer) is reached
