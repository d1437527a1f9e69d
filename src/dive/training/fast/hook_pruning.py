"""Remove hooks that are not overridden: on small models, calling them takes a large part of a training step."""

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
    f"on_{stage}_{edge}"
    for stage in ("train_epoch", "validation", "validation_epoch", "test", "test_epoch")
    for edge in ("start", "end")
)


def drop_empty_hooks(module: pl.LightningModule, callbacks: Iterable[pl.Callback]) -> None:
    """Set batch and epoch hooks that are not overridden to None; Lightning skips hooks that are not callable.

    Of the module's hooks only `TRAIN_BATCH_HOOKS` are dropped: Lightning inspects the signatures of the others.
    """
    all_hooks = TRAIN_BATCH_HOOKS + EVAL_BATCH_HOOKS + EPOCH_HOOKS
    owners = [(module, pl.LightningModule, TRAIN_BATCH_HOOKS), *((c, pl.Callback, all_hooks) for c in callbacks)]
    for owner, base, hooks in owners:
        owner.__dict__ |= {hook: None for hook in hooks if getattr(type(owner), hook) is getattr(base, hook)}
