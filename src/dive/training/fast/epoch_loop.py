"""An epoch loop that runs several training steps before it returns to Lightning's bookkeeping."""

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
from dive.training.fast.train_step import is_stepped_per_batch, is_supported, make_train_step

get_batch_end_hook = attrgetter("on_train_batch_end")


class FastTrainingEpochLoop(_TrainingEpochLoop):
    """Runs several training steps in a row, without Lightning's bookkeeping between them.

    On small models that bookkeeping costs as much as the arithmetic. The steps are the same either way
    (`dive.training.fast.train_step`): same arithmetic, same batches, same progress counters. The loop returns to
    Lightning wherever something may happen between two steps: after the last step of an epoch or of `max_steps`,
    before a validation, at a refresh of the progress bar, and after a step in which a signal arrived. Lightning's
    own loop runs all steps if a callback or the task has hooks around batches, or if `is_supported` excludes the
    task.

    At most `steps_per_execution` steps are run in a row; 1 leaves all steps to Lightning.
    """

    def __init__(
        self, trainer: pl.Trainer, steps_per_execution: int, min_steps: int | None = None, max_steps: int = -1
    ) -> None:
        super().__init__(trainer, min_steps, max_steps)
        self.steps_per_execution = steps_per_execution
        self._fast_steps_supported = False
        self._hook_owners: list[Any] = []

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """At the start of an epoch, decide whether fast steps are supported."""
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        self._fast_steps_supported = (
            self.steps_per_execution > 1 and is_supported(trainer) and has_known_length(data_fetcher)
        )
        self._hook_owners = [
            *(callback for callback in trainer.callbacks if not is_idle_between_refreshes(callback)),
            trainer.lightning_module,
        ]

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Run as many fast steps as possible, or one step of Lightning's own loop."""
        if self._fast_steps_supported and not self.restarting and not any(map(has_batch_hooks, self._hook_owners)):
            self._run_fast_steps(self._steps_until_event(), data_fetcher)
        else:
            super().advance(data_fetcher)

    def _steps_until_event(self) -> int:
        """Number of steps up to and including the next one after which Lightning has something to do."""
        trainer, taken = self.trainer, self.batch_progress.current.ready
        remaining = [trainer.num_training_batches - taken]
        if self.max_steps >= 0:
            remaining.append(self.max_steps - self.global_step)
        intervals = [self.steps_per_execution]
        if isinstance(bar := trainer.progress_bar_callback, TQDMProgressBar) and bar.refresh_rate > 0:
            intervals.append(bar.refresh_rate)
        if self._should_check_val_epoch() and math.isfinite(trainer.val_check_batch):
            within_epoch = trainer.check_val_every_n_epoch is not None
            counted = taken if within_epoch else self.batch_progress.total.ready
            remaining.append(trainer.val_check_batch - counted % trainer.val_check_batch)
        return int(min(*remaining, *(n - taken % n for n in intervals)))

    def _run_fast_steps(self, num_steps: int, data_fetcher: _DataFetcher) -> None:
        trainer, train_step = self.trainer, make_train_step(self.trainer)
        precision, device = trainer.precision_plugin, trainer.strategy.root_device
        batches = data_fetcher.combined_loader._iterator.iterators[0]
        completed, batch = 0, None  # completed: without the last step, which `_finish_batch` counts
        try:
            while True:
                batch = None  # frees its memory for the next batch while it is still in the cache
                batch = precision.convert_input(next(batches))
                if batch[0].device != device:
                    batch = trainer.strategy.batch_to_device(batch)
                loss = train_step(batch)
                # A signal handler interrupts the run by setting a callback's hook.
                if completed + 1 == num_steps or any(map(get_batch_end_hook, self._hook_owners)):
                    break
                completed += 1
        finally:
            self._count_steps(completed, data_fetcher)
            self.batch_progress.increment_by(completed)
            self._batches_that_stepped += completed
        self._count_steps(1, data_fetcher)
        self._finish_batch(loss.detach(), batch, data_fetcher)

    def _count_steps(self, steps: int, data_fetcher: _DataFetcher) -> None:
        data_fetcher.fetched += steps
        self.automatic_optimization.optim_progress.optimizer.step.increment_by(steps)
        self.automatic_optimization.optim_progress.optimizer.zero_grad.increment_by(steps)
        scheduled = sum(map(is_stepped_per_batch, self.trainer.lr_scheduler_configs))
        self.scheduler_progress.increment_by(steps * scheduled)

    def _finish_batch(self, loss: Tensor, batch: Batch, data_fetcher: _DataFetcher) -> None:
        """Do what Lightning's `advance` does after a step."""
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


def is_idle_between_refreshes(callback: pl.Callback) -> bool:
    """Whether a callback is a progress bar whose hooks around batches are those of Lightning."""
    return isinstance(callback, TQDMProgressBar) and all(
        getattr(type(callback), hook) is getattr(TQDMProgressBar, hook) for hook in TRAIN_BATCH_HOOKS
    )


def has_known_length(data_fetcher: _DataFetcher) -> bool:
    """Whether batches come from a single loader whose number of batches is known in advance."""
    return (
        type(data_fetcher) is _PrefetchDataFetcher
        and data_fetcher.length is not None
        and isinstance(data_fetcher.combined_loader.iterables, DataLoader)
    )


def has_batch_hooks(owner: Any) -> bool:
    """Whether a callback or module has a hook around training batches."""
    return any(getattr(owner, hook) is not None for hook in TRAIN_BATCH_HOOKS)
