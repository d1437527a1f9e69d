"""Lightning's loop over an epoch, which need not look up from its work after every step."""

import math
from functools import partial

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities import GradClipAlgorithmType
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor

from dive.callbacks.progress import Progress
from dive.data.module import DataModule
from dive.hooks import TRAINING
from dive.tasks import Batch, Task

# What a task may do in its own way, and bare steps would pass by; hooks around batches are looked at apart.
OWN_WAYS = ("backward", "configure_gradient_clipping", "optimizer_step", "optimizer_zero_grad")
# Likewise, of a task or a data module.
TRANSFERS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class EpochLoop(_TrainingEpochLoop):
    """Take several steps at once, then one of Lightning's own: on small models that costs as much as the arithmetic.

    A step is the same either way: forward, gradients to zero, backward, clipping, update; on the same batches, counted
    by the same counters. Those that something may follow are Lightning's: the last of an epoch or of `max_steps`, one
    before a validation, one that the progress bar shows. All are, where a callback or the task has hooks around
    batches, or wants a way of its own that bare steps would pass by.

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

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """An epoch begins, or goes on."""
        super().on_run_start(data_fetcher)
        self._bare_steps_do = self.steps_per_execution > 1 and plain(self.trainer) and countable(data_fetcher)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Bare steps, as many as nobody would miss, and one of Lightning's."""
        if self._bare_steps_do and not self.restarting:
            for _ in range(self._steps_unseen()):
                if watched(self.trainer):  # since a signal has come, say
                    break
                self._bare_step(data_fetcher)
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

    def _bare_step(self, data_fetcher: _DataFetcher) -> None:
        batch, _, _ = next(data_fetcher)
        trainer = self.trainer
        batch = trainer.precision_plugin.convert_input(batch)
        if batch[0].device != trainer.strategy.root_device:
            batch = trainer.strategy.batch_to_device(batch)
        trainer.optimizers[0].step(partial(self._descend, batch))
        self.batch_progress.increment_by(1, is_last_batch=data_fetcher.done)
        self.automatic_optimization.optim_progress.optimizer.step.increment_by(1)
        self.automatic_optimization.optim_progress.optimizer.zero_grad.increment_by(1)
        self._batches_that_stepped += 1

    def _descend(self, batch: Batch) -> Tensor:
        trainer, optimizer = self.trainer, self.trainer.optimizers[0]
        with trainer.precision_plugin.train_step_context():
            loss: Tensor = trainer.lightning_module.training_step(batch, self.batch_idx + 1)
        optimizer.zero_grad()
        loss.backward()
        if trainer.gradient_clip_val:
            algorithm = trainer.gradient_clip_algorithm or GradClipAlgorithmType.NORM
            trainer.precision_plugin.clip_gradients(optimizer, trainer.gradient_clip_val, algorithm)
        return loss


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
    """Whether the last batch of an epoch is known before it comes."""
    return type(data_fetcher) is _PrefetchDataFetcher and data_fetcher.length is not None


def watched(trainer: pl.Trainer) -> bool:
    """Whether somebody has a hook around batches; the progress bar's is known to do nothing between refreshes."""
    return any(
        getattr(owner, hook) is not None
        for owner in (trainer.lightning_module, *trainer.callbacks)
        if not isinstance(owner, Progress)
        for hook in TRAINING
    )
