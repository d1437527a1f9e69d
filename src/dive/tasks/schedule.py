"""Learning-rate schedules: when a scheduler is stepped, what it monitors, and how long it lasts (book 12.11)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pytorch_lightning as pl
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, ReduceLROnPlateau, SequentialLR

from dive.errors import ConfigError

MakeScheduler = Callable[[Optimizer], LRScheduler]


class TrainingLength(NamedTuple):
    """How long a training is, in epochs and in optimizer steps."""

    epoch: float
    step: float


# Stands for the length of a training that is not known yet, when a scheduler is built only to find its errors.
UNKNOWN_LENGTH = TrainingLength(10**6, 10**6)


@dataclass(frozen=True)
class Schedule:
    """A learning-rate scheduler and how Lightning is to step it.

    Args:
        make: creates the scheduler from the optimizer and the length of the training, in units of `interval`.
        interval: whether to step it after each epoch or after each optimizer step.
        monitor: the metric that a `ReduceLROnPlateau` gets.
        lasts_whole_training: whether `make` uses the length of the training.
    """

    make: Callable[[Optimizer, float], LRScheduler]
    interval: Literal["epoch", "step"] = "epoch"
    monitor: str | None = None
    lasts_whole_training: bool = False


def configure_scheduler(task: Any, optimizer: Optimizer) -> dict[str, Any]:
    """Create the scheduler of a task as Lightning's ``lr_scheduler``; empty if it has none.

    Raises:
        ConfigError: a `ReduceLROnPlateau` has no metric, or would be stepped without a new value of it.
    """
    schedule = task.make_scheduler
    if schedule is None:
        return {}
    if not isinstance(schedule, Schedule):
        return {"lr_scheduler": {"scheduler": schedule(optimizer), "interval": "epoch"}}
    try:
        trainer = task.trainer
    except RuntimeError:
        trainer = None
    length = task.training_length or UNKNOWN_LENGTH
    if trainer is not None and schedule.lasts_whole_training:
        length = training_length(trainer)
    scheduler = schedule.make(optimizer, getattr(length, schedule.interval))
    described = {"scheduler": scheduler, "interval": schedule.interval}
    if not isinstance(scheduler, ReduceLROnPlateau):
        return {"lr_scheduler": described}
    if schedule.monitor is None or schedule.interval == "step":
        raise ConfigError("scheduler: ReduceLROnPlateau needs interval=epoch and monitor, such as val/loss")
    # Without a validation there is no new value.
    frequency = 1 if trainer is None else trainer.check_val_every_n_epoch or 1
    return {"lr_scheduler": described | {"monitor": schedule.monitor, "frequency": frequency}}


def training_length(trainer: pl.Trainer) -> TrainingLength:
    """The length of a fit that has started; infinite if neither `max_epochs` nor `max_steps` limits it."""
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    steps = float(trainer.estimated_stepping_batches)
    if math.isinf(steps) or math.isinf(trainer.num_training_batches):
        return TrainingLength(math.inf, steps)
    steps_per_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    return TrainingLength(math.ceil(steps / max(1, steps_per_epoch)), steps)


def schedule_length(trainer: pl.Trainer, task: pl.LightningModule) -> int | None:
    """The length of the training in a task's `Schedule`, in its units; None if it does not depend on it."""
    schedule = getattr(task, "make_scheduler", None)
    if not isinstance(schedule, Schedule) or not schedule.lasts_whole_training:
        return None
    length = getattr(training_length(trainer), schedule.interval)
    return None if math.isinf(length) else int(length)


def warmup_cosine(
    optimizer: Optimizer,
    total_steps: int,
    warmup_fraction: float = 0.1,
    start_factor: float = 0.01,
    eta_min: float = 0.0,
) -> SequentialLR:
    """Increase the learning rate linearly, then decrease it along half a cosine (book 12.11.3.4).

    Args:
        optimizer: its learning rate is the highest.
        total_steps: length of the whole schedule, in steps of the scheduler.
        warmup_fraction: the part of it in which the learning rate increases, at least one step.
        start_factor: the first learning rate, relative to the highest.
        eta_min: the last learning rate.
    """
    warmup = max(1, round(warmup_fraction * total_steps))
    parts = [
        LinearLR(optimizer, start_factor, total_iters=warmup),
        CosineAnnealingLR(optimizer, T_max=max(1, total_steps - warmup), eta_min=eta_min),
    ]
    return SequentialLR(optimizer, parts, milestones=[warmup])
