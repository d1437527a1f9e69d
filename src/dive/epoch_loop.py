"""Lightning's loop over an epoch, which need not look up from its work after every step."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from operator import attrgetter
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.call import _call_callback_hooks
from pytorch_lightning.utilities import GradClipAlgorithmType
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from dive.callbacks.progress import Progress
from dive.data.module import DataModule
from dive.hooks import TRAINING
from dive.tasks import Batch, Task

hook_after_batch = attrgetter("on_train_batch_end")

# What a task may do in its own way, and bare steps would pass by; hooks around batches are looked at apart.
OWN_WAYS = ("backward", "configure_gradient_clipping", "optimizer_step", "optimizer_zero_grad")
# Likewise, of a task or a data module.
TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class EpochLoop(_TrainingEpochLoop):
    """Take several bare steps, then one of Lightning's own, which costs as much as a small model's arithmetic.

    A step is the same either way: forward, gradients to zero, backward, clipping, update; on the same batches,
    counted by the same counters. Those that something may follow are Lightning's: the last of an epoch or of
    `max_steps`, one before a validation, one that the progress bar shows. All are, where a callback or the task
    has hooks around batches, or wants a way of its own that bare steps would pass by.

    Args:
        trainer: whose loop this is.
        steps_per_execution: each so many steps, one is Lightning's; 1 leaves all to it.
        min_steps: as `pytorch_lightning.Trainer` takes it.
        max_steps: likewise.

    Raises:
        ValueError: `steps_per_execution` is below 1.
    """

    def __init__(
        self, trainer: pl.Trainer, steps_per_execution: int, min_steps: int | None = None, max_steps: int = -1
    ) -> None:
        if steps_per_execution < 1:
            raise ValueError(f"steps_per_execution must be at least 1, got {steps_per_execution}")
        super().__init__(trainer, min_steps, max_steps)
        self.steps_per_execution = steps_per_execution
        self._bare_steps_do = False
        self._observers: list[Any] = []

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """An epoch begins, or goes on."""
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        self._bare_steps_do = self.steps_per_execution > 1 and plain(trainer) and countable(data_fetcher)
        # The progress bar has a hook, but it does nothing between refreshes.
        self._observers = [
            *(c for c in trainer.callbacks if not isinstance(c, Progress)),
            trainer.lightning_module,
        ]

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Bare steps, as many as nobody would miss, and one of Lightning's."""
        if self._bare_steps_do and not self.restarting and not any(map(watched, self._observers)):
            self._take_bare_steps(self._steps_unseen(), data_fetcher)
        super().advance(data_fetcher)

    def _steps_unseen(self) -> int:
        """Steps until the next one that is Lightning's."""
        trainer, taken = self.trainer, self.batch_progress.current.ready
        ends = [trainer.num_training_batches - taken]
        if self.max_steps >= 0:
            ends.append(self.max_steps - self.global_step)
        every = [self.steps_per_execution]
        if isinstance(bar := trainer.progress_bar_callback, Progress) and bar.refresh_rate > 0:
            every.append(bar.refresh_rate)
        if self._should_check_val_epoch() and math.isfinite(trainer.val_check_batch):
            in_epoch = trainer.check_val_every_n_epoch is not None
            counted = taken if in_epoch else self.batch_progress.total.ready
            ends.append(trainer.val_check_batch - counted % trainer.val_check_batch)
        return int(min(*ends, *(n - taken % n for n in every))) - 1

    def _take_bare_steps(self, most: int, data_fetcher: _DataFetcher) -> None:
        trainer, optimizer = self.trainer, self.trainer.optimizers[0]
        precision, device = trainer.precision_plugin, trainer.strategy.root_device
        gradients = self._gradients(optimizer)
        batches = data_fetcher.combined_loader._iterator.iterators[0]
        taken, called, batch = 0, False, None
        try:
            while taken < most and not called:
                batch = None  # its memory is free for the next one, and still in the cache
                batch = precision.convert_input(next(batches))
                if batch[0].device != device:
                    batch = trainer.strategy.batch_to_device(batch)
                loss = optimizer.step(partial(gradients, batch))
                taken += 1
                called = any(map(hook_after_batch, self._observers))  # a signal has come meanwhile
        finally:
            data_fetcher.fetched += taken
            self.batch_progress.increment_by(taken)
            self.automatic_optimization.optim_progress.optimizer.step.increment_by(taken)
            self.automatic_optimization.optim_progress.optimizer.zero_grad.increment_by(taken)
            self._batches_that_stepped += taken
        if called:
            _call_callback_hooks(trainer, "on_train_batch_end", {"loss": loss}, batch, self.batch_idx)

    def _gradients(self, optimizer: Optimizer) -> Callable[[Batch], Tensor]:
        trainer, precision = self.trainer, self.trainer.precision_plugin
        training_step, clip = trainer.lightning_module.training_step, trainer.gradient_clip_val
        context = nullcontext if type(precision) is Precision else precision.train_step_context

        def gradients(batch: Batch) -> Tensor:
            with context():
                loss: Tensor = training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            if clip:
                algorithm = trainer.gradient_clip_algorithm or GradClipAlgorithmType.NORM
                precision.clip_gradients(optimizer, clip, algorithm)
            return loss

        return gradients


def plain(trainer: pl.Trainer) -> bool:
    """Whether a training step is nothing but the arithmetic that `EpochLoop` knows."""
    task, data, precision = trainer.lightning_module, trainer.datamodule, trainer.precision_plugin
    own_transfer = data is not None and any(
        getattr(type(data), hook) not in (getattr(pl.LightningDataModule, hook), getattr(DataModule, hook))
        for hook in TRANSFERS
    )
    return (
        isinstance(task, Task)
        and type(task).training_step is Task.training_step
        and not any(is_overridden(hook, task) for hook in OWN_WAYS + TRANSFERS)
        and not own_transfer
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(precision) in (Precision, DoublePrecision, HalfPrecision, MixedPrecision)
        and getattr(precision, "scaler", None) is None
        and type(trainer.profiler) is PassThroughProfiler
        and trainer.accumulate_grad_batches == 1
        and trainer._val_check_time_interval is None
        and all(scheduler.interval == "epoch" for scheduler in trainer.lr_scheduler_configs)
    )


def countable(data_fetcher: _DataFetcher) -> bool:
    """Whether batches come from one loader, and the last of an epoch is known before it comes."""
    return (
        type(data_fetcher) is _PrefetchDataFetcher
        and data_fetcher.length is not None
        and isinstance(data_fetcher.combined_loader.iterables, DataLoader)
    )


def watched(owner: Any) -> bool:
    """Whether a callback or a module does anything around batches."""
    return any(getattr(owner, hook) is not None for hook in TRAINING)
