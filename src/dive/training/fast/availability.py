"""Install the fast loop if the installed Lightning has the private names that it uses.

Otherwise training runs in Lightning's own loop: slower, with the same weights and metrics bit for bit.
"""

import inspect
import logging
from operator import attrgetter
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader

log = logging.getLogger(__name__)

LOOP = "pytorch_lightning.loops.training_epoch_loop._TrainingEpochLoop"
FETCHER = "pytorch_lightning.loops.fetchers._PrefetchDataFetcher"
CALL_CALLBACKS = "pytorch_lightning.trainer.call._call_callback_hooks"
CALL_MODULE = "pytorch_lightning.trainer.call._call_lightning_module_hook"
# Objects that the fast loop imports, subclasses, overrides or calls; with the positional parameters of functions.
OBJECTS: dict[str, list[str] | None] = {
    LOOP: ["trainer", "min_steps", "max_steps"],
    f"{LOOP}.on_run_start": ["self", "data_fetcher"],
    f"{LOOP}.advance": ["self", "data_fetcher"],
    f"{LOOP}.update_lr_schedulers": ["self", "interval", "update_plateau_schedulers"],
    f"{LOOP}._num_ready_batches_reached": ["self"],
    f"{LOOP}._should_check_val_epoch": ["self"],
    "pytorch_lightning.loops.fetchers._DataFetcher": None,
    f"{FETCHER}.combined_loader": None,
    CALL_CALLBACKS: ["trainer", "hook_name"],
    CALL_MODULE: ["trainer", "hook_name"],
    "pytorch_lightning.utilities.model_helpers.is_overridden": ["method_name", "instance", "parent"],
}
# Attributes of instances: of the trainer, of a data fetcher and of a loader that is being iterated over.
ATTRIBUTES = {
    "trainer": (
        "_val_check_time_interval",
        "val_check_batch",
        *(
            f"fit_loop.epoch_loop.{name}"
            for name in (
                "_batches_that_stepped",
                "automatic_optimization.optim_progress.optimizer.step.increment_by",
                "automatic_optimization.optim_progress.optimizer.zero_grad.increment_by",
                "batch_idx",
                "batch_progress.current.ready",
                "batch_progress.increment_by",
                "batch_progress.is_last_batch",
                "batch_progress.total.ready",
                "global_step",
                "restarting",
                "val_loop.restarting",
            )
        ),
    ),
    "fetcher": ("done", "fetched", "length"),
    "loader": ("_iterator.iterators", "iterables"),
}


def install_fast_loop(trainer: pl.Trainer, steps_per_execution: int) -> bool:
    """Replace a trainer's epoch loop by `FastTrainingEpochLoop`, if that is possible.

    Args:
        trainer: a new trainer.
        steps_per_execution: maximum number of training steps between two returns to Lightning's loop; 1 leaves all
            steps to Lightning.

    Returns:
        Whether the loop was replaced. If not, one line is logged that names what is missing.

    Raises:
        ValueError: `steps_per_execution` is below 1.
    """
    if steps_per_execution < 1:
        raise ValueError(f"steps_per_execution must be at least 1, got {steps_per_execution}")
    if missing := missing_names(trainer):
        log.info(
            "pytorch_lightning %s has no %s: training uses Lightning's own loop (slower, same results)",
            pl.__version__,
            ", ".join(missing),
        )
        return False
    from dive.training.fast.epoch_loop import FastTrainingEpochLoop  # imports the private names

    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = FastTrainingEpochLoop(
        trainer, steps_per_execution, min_steps=loop.min_steps, max_steps=loop.max_steps
    )
    return True


def missing_names(trainer: pl.Trainer) -> list[str]:
    """The names used by the fast loop that the installed Lightning lacks, or has with other parameters."""
    if missing := [name for name, parameters in OBJECTS.items() if not _has_object(name, parameters)]:
        return missing
    loader = CombinedLoader([[]])
    iter(loader)
    instances = {"trainer": trainer, "fetcher": resolve_name(FETCHER)(), "loader": loader}
    missing = [
        f"{owner}.{name}"
        for owner, names in ATTRIBUTES.items()
        for name in names
        if not _has_attribute(instances[owner], name)
    ]
    return missing if _skips_removed_hooks() else [*missing, "check for hooks that are None"]


def _has_object(name: str, parameters: list[str] | None) -> bool:
    try:
        found = resolve_name(name)
        actual = list(inspect.signature(found).parameters) if parameters else None
    except (ImportError, AttributeError, ValueError):
        return False
    return actual is None or actual[: len(parameters or ())] == parameters


def _has_attribute(owner: Any, name: str) -> bool:
    try:
        attrgetter(name)(owner)
    except (AttributeError, NotImplementedError):
        return False
    return True


def _skips_removed_hooks() -> bool:
    """Whether Lightning ignores hooks that are None, as `drop_empty_hooks` leaves them."""
    owner = SimpleNamespace(hook=None)
    try:
        resolve_name(CALL_CALLBACKS)(SimpleNamespace(callbacks=[owner], lightning_module=None), "hook")
        resolve_name(CALL_MODULE)(SimpleNamespace(lightning_module=owner), "hook")
    except (AttributeError, TypeError):
        return False
    return True
