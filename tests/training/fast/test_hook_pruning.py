"""Only hooks that are not overridden are dropped."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl

from dive.training.fast.hook_pruning import EPOCH_HOOKS, EVAL_BATCH_HOOKS, TRAIN_BATCH_HOOKS, drop_empty_hooks


class Counter(pl.Callback):
    """A callback that overrides two hooks."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *args: Any) -> None:
        """Count batches."""
        self.batches += 1

    def on_test_end(self, *args: Any) -> None:
        """Override without effect."""


class Module(pl.LightningModule):
    """A module that overrides one hook."""

    def on_before_zero_grad(self, optimizer: Any) -> None:
        """Override without effect."""


def test_only_hooks_that_are_not_overridden_are_dropped() -> None:
    module, counter = Module(), Counter()
    drop_empty_hooks(module, [counter])
    dropped = TRAIN_BATCH_HOOKS + EVAL_BATCH_HOOKS + EPOCH_HOOKS
    assert {hook for hook in dropped if getattr(counter, hook) is not None} == {
        "on_train_batch_end",
        "on_test_end",
    }
    assert {hook for hook in TRAIN_BATCH_HOOKS if getattr(module, hook) is not None} == {"on_before_zero_grad"}
    assert all(callable(getattr(module, hook)) for hook in EVAL_BATCH_HOOKS + EPOCH_HOOKS)


def test_an_overridden_hook_is_called_at_each_step(fit: Callable[..., Any]) -> None:
    fitted = fit("model=linear_regression", "data.num_train=96")
    counter = Counter()
    fitted.trainer.callbacks.append(counter)
    fitted.trainer.fit_loop.epoch_progress.reset()
    fitted.trainer.fit(fitted.task, fitted.trainer.datamodule)
    assert counter.batches == 9
