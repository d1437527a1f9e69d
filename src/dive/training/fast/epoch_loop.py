"""Lightning's loop over an epoch, which need not look up from its work after every step."""

import math
from operator import attrgetter
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer.call import _call_callback_hooks
from torch import Tensor
from torch.utils.data import DataLoader

from dive.tasks.task import Batch
from dive.training.fast.hook_pruning import TRAIN_BATCH_HOOKS
from dive.training.fast.train_step import is_supported, make_train_step

hook_after_batch = attrgetter("on_train_batch_end")


class FastTrainingEpochLoop(_TrainingEpochLoop):
    """Take several bare steps, then look up from the work, which costs as much as a small model's arithmetic.

    A step is the same either way (`dive.training.fast.train_step`): the same arithmetic on the same batches, counted by the same
    counters. It looks up where something may follow: after the last step of an epoch or of `max_steps`, one before
    a validation, one that the progress bar shows, one in which a signal came. Steps are Lightning's own, where a
    callback or the task has hooks around batches, or wants a way of its own that bare steps would pass by.

    Args:
        trainer: whose loop this is.
        steps_per_execution: bare steps at once, at most; 1 leaves all steps to Lightning.
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
        self._bare_steps_do = (
            self.steps_per_execution > 1 and is_supported(trainer) and has_known_length(data_fetcher)
        )
        # The progress bar has a hook, but it does nothing between refreshes.
        self._observers = [
            *(c for c in trainer.callbacks if not isinstance(c, TQDMProgressBar)),
            trainer.lightning_module,
        ]

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Bare steps, as many as nobody would miss, or one of Lightning's."""
        if self._bare_steps_do and not self.restarting and not any(map(has_batch_hooks, self._observers)):
            self._take_bare_steps(self._steps_unseen(), data_fetcher)
        else:
            super().advance(data_fetcher)

    def _steps_unseen(self) -> int:
        """Steps to the next one that something follows, that one included."""
        trainer, taken = self.trainer, self.batch_progress.current.ready
        ends = [trainer.num_training_batches - taken]
        if self.max_steps >= 0:
            ends.append(self.max_steps - self.global_step)
        every = [self.steps_per_execution]
        if isinstance(bar := trainer.progress_bar_callback, TQDMProgressBar) and bar.refresh_rate > 0:
            every.append(bar.refresh_rate)
        if self._should_check_val_epoch() and math.isfinite(trainer.val_check_batch):
            in_epoch = trainer.check_val_every_n_epoch is not None
            counted = taken if in_epoch else self.batch_progress.total.ready
            ends.append(trainer.val_check_batch - counted % trainer.val_check_batch)
        return int(min(*ends, *(n - taken % n for n in every)))

    def _take_bare_steps(self, most: int, data_fetcher: _DataFetcher) -> None:
        trainer, step = self.trainer, make_train_step(self.trainer)
        precision, device = trainer.precision_plugin, trainer.strategy.root_device
        batches = data_fetcher.combined_loader._iterator.iterators[0]
        before, batch = 0, None  # steps before the last one
        try:
            while True:
                batch = None  # its memory is free for the next one, and still in the cache
                batch = precision.convert_input(next(batches))
                if batch[0].device != device:
                    batch = trainer.strategy.batch_to_device(batch)
                loss = step(batch)
                if before + 1 == most or any(map(hook_after_batch, self._observers)):  # a signal has come
                    break
                before += 1
        finally:
            self._count(before, data_fetcher)
            self.batch_progress.increment_by(before)
            self._batches_that_stepped += before
        self._count(1, data_fetcher)
        self._end_as_lightning_does(loss.detach(), batch, data_fetcher)

    def _count(self, steps: int, data_fetcher: _DataFetcher) -> None:
        data_fetcher.fetched += steps
        self.automatic_optimization.optim_progress.optimizer.step.increment_by(steps)
        self.automatic_optimization.optim_progress.optimizer.zero_grad.increment_by(steps)

    def _end_as_lightning_does(self, loss: Tensor, batch: Batch, data_fetcher: _DataFetcher) -> None:
        assert data_fetcher.length is not None
        data_fetcher.done = data_fetcher.fetched >= data_fetcher.length
        self.val_loop.restarting = False
        self.batch_progress.is_last_batch = data_fetcher.done
        self.batch_progress.increment_ready()
        self.batch_progress.increment_started()
        self.batch_progress.increment_processed()
        if self._num_ready_batches_reached():
            self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        _call_callback_hooks(self.trainer, "on_train_batch_end", {"loss": loss}, batch, self.batch_idx)
        self.batch_progress.increment_completed()


def has_known_length(data_fetcher: _DataFetcher) -> bool:
    """Whether batches come from one loader, and the last of an epoch is known before it comes."""
    return (
        type(data_fetcher) is _PrefetchDataFetcher
        and data_fetcher.length is not None
        and isinstance(data_fetcher.combined_loader.iterables, DataLoader)
    )


def has_batch_hooks(owner: Any) -> bool:
    """Whether a callback or a module does anything around batches."""
    return any(getattr(owner, hook) is not None for hook in TRAIN_BATCH_HOOKS)
