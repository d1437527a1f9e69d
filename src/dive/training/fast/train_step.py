"""A training step that is nothing but arithmetic: what Lightning does around it costs as much on small models."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import pytorch_lightning as pl
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities import GradClipAlgorithmType
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from dive.data.datamodule import InMemoryDataModule
from dive.tasks.task import Batch, Task

# What a task may do in its own way, and bare steps would pass by; hooks around batches are looked at apart.
OPTIMIZATION_HOOKS = ("backward", "configure_gradient_clipping", "optimizer_step", "optimizer_zero_grad")
# Likewise, of a task or a data module.
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def is_supported(trainer: pl.Trainer) -> bool:
    """Whether a training step is nothing but the arithmetic that `make_train_step` knows."""
    task, data, precision = trainer.lightning_module, trainer.datamodule, trainer.precision_plugin
    own_transfer = data is not None and any(
        getattr(type(data), hook) not in (getattr(pl.LightningDataModule, hook), getattr(InMemoryDataModule, hook))
        for hook in TRANSFER_HOOKS
    )
    return (
        isinstance(task, Task)
        and type(task).training_step is Task.training_step
        and not any(is_overridden(hook, task) for hook in OPTIMIZATION_HOOKS + TRANSFER_HOOKS)
        and not own_transfer
        and type(trainer.strategy) is SingleDeviceStrategy
        and type(precision) in (Precision, DoublePrecision, HalfPrecision, MixedPrecision)
        and getattr(precision, "scaler", None) is None
        and type(trainer.profiler) is PassThroughProfiler
        and trainer.accumulate_grad_batches == 1
        and trainer._val_check_time_interval is None
        and all(scheduler.interval == "epoch" for scheduler in trainer.lr_scheduler_configs)
    )


def make_train_step(trainer: pl.Trainer) -> Callable[[Batch], Tensor]:
    """What takes a step on a batch, and returns its loss: forward, gradients to zero, backward, clipping, update.

    Args:
        trainer: that trains; `is_supported`.
    """
    optimizer, precision = trainer.optimizers[0], trainer.precision_plugin
    training_step, clip = trainer.lightning_module.training_step, trainer.gradient_clip_val
    context = nullcontext if type(precision) is Precision else precision.train_step_context
    zero_grad = zero_grad_set_to_none(optimizer)

    def gradients(batch: Batch) -> Tensor:
        with context():
            loss: Tensor = training_step(batch, 0)
        zero_grad()
        loss.backward()
        if clip:
            algorithm = trainer.gradient_clip_algorithm or GradClipAlgorithmType.NORM
            precision.clip_gradients(optimizer, clip, algorithm)
        return loss

    def gradients_then_update(batch: Batch) -> Tensor:
        loss = gradients(batch)
        optimizer.step()
        return loss

    def update_with_closure(batch: Batch) -> Tensor:
        return optimizer.step(partial(gradients, batch))

    return gradients_then_update if calls_closure_once(optimizer) else update_with_closure


def calls_closure_once(optimizer: Optimizer) -> bool:
    """Whether an optimizer asks for gradients once a step, at its start: torch's own, but one, are known to."""
    return type(optimizer).__module__.startswith("torch.optim.") and not isinstance(optimizer, LBFGS)


def zero_grad_set_to_none(optimizer: Optimizer) -> Callable[[], None]:
    """What an optimizer's `zero_grad` comes to: torch's own takes seven microseconds for two parameters."""
    if type(optimizer).zero_grad is not Optimizer.zero_grad:
        return optimizer.zero_grad
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def zero_grad() -> None:
        for parameter in parameters:
            parameter.grad = None

    return zero_grad
