"""Private names of Lightning and torch that are used outside of `training/fast`, each with a fallback.

If a later version lacks a name, the fallback is slower or saves less often, with the same results.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

# Lightning's attribute for the hook that is running; it is set about forty times per step.
CURRENT_HOOK = "_current_fx_name"


def may_reuse_outputs(model: nn.Module) -> bool:
    """Whether the memory of a model's outputs may be overwritten by its next outputs, as by CUDA graphs.

    Fallback: True, so that outputs are copied.
    """
    return getattr(model, "_compiled_call_impl", True) is not None


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm over all elements of tensors of any shapes: a float32 scalar.

    Fallback: `torch.nn.utils.get_total_norm`, which takes about twice as long.

    >>> total_norm([torch.tensor([3.0]), torch.tensor([[4.0], [12.0]])])
    tensor(13.)
    """
    detached = [tensor.detach() for tensor in tensors]
    if not hasattr(torch, "_foreach_norm"):
        return get_total_norm(detached).float()
    return torch.stack([norm.float() for norm in torch._foreach_norm(detached)]).norm()


def accumulates_gradients(trainer: pl.Trainer) -> bool:
    """Whether gradients of earlier batches wait for an optimizer step.

    Fallback: True if gradients are accumulated at all.
    """
    loop = trainer.fit_loop.epoch_loop
    if not hasattr(loop, "_should_accumulate"):
        return bool(trainer.accumulate_grad_batches > 1)
    return bool(loop._should_accumulate())


def is_epoch_end_or_validation_due(trainer: pl.Trainer) -> bool:
    """Whether the end of the epoch or validation comes next.

    Fallback: True, so that runs save and exit at the end of epochs only.
    """
    loop = trainer.fit_loop.epoch_loop
    try:
        return loop._num_ready_batches_reached() or loop._should_check_val_fx(trainer.fit_loop._data_fetcher)
    except (AttributeError, TypeError):
        if all(hasattr(loop, name) for name in ("_num_ready_batches_reached", "_should_check_val_fx")):
            raise
        return True


def is_restoring(trainer: pl.Trainer) -> bool:
    """Whether a checkpoint is being restored. Fallback: False, so that an error in it has a traceback."""
    return bool(getattr(getattr(trainer, "_checkpoint_connector", None), "_loaded_checkpoint", None))


def clear_restarting(trainer: pl.Trainer) -> None:
    """Make Lightning's loops start an epoch from its beginning after a checkpoint was loaded.

    The public setter would set the flag again if `max_steps` is set. Fallback: the public setter.
    """
    loop = trainer.fit_loop
    for part in (loop, loop.epoch_loop, loop.epoch_loop.val_loop):
        if hasattr(part, "_restarting"):
            part._restarting = False
        else:
            part.restarting = False


def discard_train_dataloader(trainer: pl.Trainer) -> None:
    """Make Lightning load the training data again: otherwise it would not restore their position in the epoch.

    They have been loaded if an optimizer or scheduler asked for `estimated_stepping_batches`. Fallback: they stay
    loaded, and such a run is resumed exactly only at the end of an epoch.
    """
    if hasattr(trainer.fit_loop, "_combined_loader"):
        trainer.fit_loop._combined_loader = None


def ignore_sigterm(trainer: pl.Trainer) -> None:
    """Keep Lightning from exiting on a SIGTERM that dive handles.

    Fallback: Lightning exits after the current batch without saving, as if the run had been killed.
    """
    if connector := getattr(trainer, "_signal_connector", None):
        connector.received_sigterm = False


@contextmanager
def event_file_time(seconds: float) -> Iterator[None]:
    """Make TensorBoard name a new event file after a time. Fallback: it is named after the current time."""
    from tensorboard.summary.writer import event_file_writer

    original = getattr(event_file_writer, "time", None)
    if original is None:
        yield
        return
    times = iter([seconds])  # the first call names the file, the others time its events
    event_file_writer.time = SimpleNamespace(time=lambda: next(times, None) or original.time())
    try:
        yield
    finally:
        event_file_writer.time = original


def may_have_compiled() -> bool:
    """Whether torch may have compiled a model in this process. Fallback: False, so that its code is kept."""
    return "torch._inductor.compile_fx" in sys.modules


def worker_sentinels(iterator: Any) -> Sequence[int]:
    """Handles that become ready when a worker of a data loader dies. Fallback: none."""
    return [worker.sentinel for worker in getattr(iterator, "_workers", ())]
