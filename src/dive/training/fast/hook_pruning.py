"""Take hooks that do nothing out of the way: on small models, calling them costs a good part of a step."""

from collections.abc import Iterable

import pytorch_lightning as pl

TRAIN_BATCH_HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)
EVAL_BATCH_HOOKS = tuple(
    f"on_{stage}_batch_{edge}" for stage in ("validation", "test") for edge in ("start", "end")
)
EPOCH_HOOKS = tuple(
    f"on_{what}_{edge}"
    for what in ("train_epoch", "validation", "validation_epoch", "test", "test_epoch")
    for edge in ("start", "end")
)


def drop_empty_hooks(module: pl.LightningModule, callbacks: Iterable[pl.Callback]) -> None:
    """Set each hook around a batch or an epoch that is not overridden to None: Lightning calls callables only.

    Of the module only those of `TRAIN_BATCH_HOOKS`, since Lightning looks at the signatures of the others.

    Args:
        module: whose own hooks to look at.
        callbacks: likewise.
    """
    _drop(module, pl.LightningModule, TRAIN_BATCH_HOOKS)
    for callback in callbacks:
        _drop(callback, pl.Callback, TRAIN_BATCH_HOOKS + EVAL_BATCH_HOOKS + EPOCH_HOOKS)


def _drop(owner: object, base: type, hooks: Iterable[str]) -> None:
    for hook in hooks:
        if getattr(type(owner), hook) is getattr(base, hook):
            owner.__dict__[hook] = None
