"""Keep where training stands, to go on from there."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dive.runs import signals
from dive.runs.signals import RunInterrupted


class LastCheckpoint(pl.Callback):
    """Keep the state of training as ``checkpoints/last.ckpt``, after each epoch and when a signal asks to leave.

    An epoch is saved when all of it is logged: at the start of the next, or at the end of training. A signal is
    heeded after the batch it came in, of training or of validation, unless gradients are held or no step is left;
    among several processes at once, and without saving, since they would not stop at the same step.

    Args:
        every_n_steps: save within epochs too, after each so many optimizer steps; None does not.
        min_interval_s: seconds from one save to the next at least, where epochs are shorter. The end of training
            is always saved, and so is the place where a signal has come.
    """

    # Lightning calls what is there: nothing, until it is needed.
    on_train_batch_end: Any = None
    on_validation_batch_end: Any = None

    def __init__(self, every_n_steps: int | None = None, min_interval_s: float = 0.0) -> None:
        self.every_n_steps = every_n_steps
        self.min_interval_s = min_interval_s
        self._saved_at = time.monotonic()
        self._asked: RunInterrupted | None = None
        self._at_start = True
        if every_n_steps is not None:
            self.on_train_batch_end = self._save_now_and_then

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have signals wait for the end of a batch from now on."""
        self._at_start = True
        self._saved_at = time.monotonic()

        def ask(interrupted: RunInterrupted) -> None:
            self._asked = interrupted
            self.on_train_batch_end = self._leave_in_epoch
            self.on_validation_batch_end = self._leave_in_validation
            trainer._signal_connector.received_sigterm = False  # else Lightning would leave without saving

        if trainer.world_size == 1:
            signals.defer_interrupt(ask)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch before; what training has begun with is saved already."""
        if self._at_start:
            self._at_start = False
        elif time.monotonic() - self._saved_at >= self.min_interval_s or self._asked is not None:
            self._save(trainer)
        if self._asked is not None:
            raise self._asked

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last epoch; signals are heeded at once again."""
        self._save(trainer)
        signals.defer_interrupt(None)
        if self._asked is not None:
            raise self._asked

    def _save_now_and_then(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every_n_steps == 0 and is_between_steps(trainer):
            self._save(trainer)

    def _leave_in_epoch(self, trainer: pl.Trainer, *_: Any) -> None:
        if is_between_steps(trainer):
            self._leave(trainer)

    def _leave_in_validation(self, trainer: pl.Trainer, *_: Any) -> None:
        if not trainer.fit_loop.epoch_loop._should_accumulate() and not max_steps_reached(trainer):
            self._leave(trainer)

    def _leave(self, trainer: pl.Trainer, *_: Any) -> None:
        self._save(trainer)
        assert self._asked is not None
        raise self._asked

    def _save(self, trainer: pl.Trainer) -> None:
        if not trainer.fast_dev_run:
            path = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
            trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()


def is_between_steps(trainer: pl.Trainer) -> bool:
    """Whether the next thing to do is another step of this epoch: no gradients are held, no validation is due."""
    loop = trainer.fit_loop.epoch_loop
    due = loop._num_ready_batches_reached() or loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
    return not due and not loop._should_accumulate() and not max_steps_reached(trainer)


def max_steps_reached(trainer: pl.Trainer) -> bool:
    """Whether no step is left of `max_steps`: a fit that goes on then would not come to the end of its epoch."""
    return 0 <= trainer.max_steps <= trainer.global_step
