"""Save the latest training state, to resume from."""

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging

from dive.lazy import private_api
from dive.runs import signals
from dive.runs.signals import RunInterrupted


class LastCheckpoint(pl.Callback):
    """Save the training state as ``checkpoints/last.ckpt`` after each epoch and when a signal interrupts the run.

    An epoch is saved once all its metrics are logged: at the start of the next epoch, or at the end of training. A
    signal is handled after the training or validation batch during which it arrived or, if gradients are then
    accumulated or no step is left, at the next point where a checkpoint can be saved. With several processes it is
    handled at once and nothing is saved, since they would not stop at the same step.

    Args:
        every_n_steps: also save within epochs, every n optimizer steps; None saves after epochs only.
        min_interval_s: minimum seconds between two saves after epochs. The end of training and an interruption are
            always saved.
    """

    # Lightning only calls hooks that are not None: these cost nothing until they are needed.
    on_train_batch_end: Any = None
    on_validation_batch_end: Any = None

    def __init__(self, every_n_steps: int | None = None, min_interval_s: float = 0.0) -> None:
        self.every_n_steps = every_n_steps
        self.min_interval_s = min_interval_s
        self._saved_at = time.monotonic()
        self._interrupt: RunInterrupted | None = None
        self._first_epoch = True
        if every_n_steps is not None:
            self.on_train_batch_end = self._save_every_n_steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Defer signals to the end of a batch from now on."""
        self._first_epoch = True
        self._saved_at = time.monotonic()

        def request_exit(interrupt: RunInterrupted) -> None:
            self._interrupt = interrupt
            self.on_train_batch_end = self._exit_between_steps
            self.on_validation_batch_end = self._exit_in_validation
            private_api.ignore_sigterm(trainer)

        if trainer.world_size == 1:
            signals.defer_interrupt(request_exit)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the previous epoch; before the first one there is nothing new to save."""
        if self._first_epoch:
            self._first_epoch = False
        elif time.monotonic() - self._saved_at >= self.min_interval_s or self._interrupt is not None:
            self._save(trainer)
        self._raise_interrupt()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the last epoch; from now on signals are handled immediately again."""
        self._save(trainer)
        signals.defer_interrupt(None)
        self._raise_interrupt()

    def _save_every_n_steps(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step % self.every_n_steps == 0 and is_between_steps(trainer):
            self._save(trainer)

    def _exit_between_steps(self, trainer: pl.Trainer, *_: Any) -> None:
        if is_between_steps(trainer):
            self._save(trainer)
            self._raise_interrupt()

    def _exit_in_validation(self, trainer: pl.Trainer, *_: Any) -> None:
        if any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):
            return  # during validation the model has the averaged weights
        if not private_api.accumulates_gradients(trainer) and not max_steps_reached(trainer):
            self._save(trainer)
            self._raise_interrupt()

    def _raise_interrupt(self) -> None:
        if self._interrupt is not None:
            raise self._interrupt

    def _save(self, trainer: pl.Trainer) -> None:
        if not trainer.fast_dev_run:
            path = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
            trainer.save_checkpoint(path, weights_only=False)
        self._saved_at = time.monotonic()


def is_between_steps(trainer: pl.Trainer) -> bool:
    """Whether another step of this epoch is next: no gradients are accumulated and no validation is due."""
    return not (
        private_api.is_epoch_end_or_validation_due(trainer)
        or private_api.accumulates_gradients(trainer)
        or max_steps_reached(trainer)
    )


def max_steps_reached(trainer: pl.Trainer) -> bool:
    """Whether `max_steps` steps have been taken: a fit resumed from there would not reach the end of its epoch."""
    return 0 <= trainer.max_steps <= trainer.global_step
