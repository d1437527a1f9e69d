"""Install the fast loop if the installed Lightning has the private names that it uses.

Otherwise training runs in Lightning's own loop: slower, with the same weights and metrics bit for bit.
"""

import inspect
import logging
from operator import attrgetter
from pkgutil import resolve_name
from types import SimpleNamespace

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader

log = logging.getLogger(__name__)

LOOP = "pytorch_lightning.loops.training_epoch_loop._TrainingEpochLoop"
FETCHER = "pytorch_lightning.loops.fetchers._PrefetchDataFetcher"
CALL = "pytorch_lightning.trainer.call"
# What the fast loop imports, subclasses, overrides or calls, and the first parameters of functions.
OBJECTS: dict[str, list[str]] = {
    LOOP: ["trainer", "min_steps", "max_steps"],
    f"{LOOP}.on_run_start": ["self", "data_fetcher"],
    f"{LOOP}.advance": ["self", "data_fetcher"],
    f"{LOOP}.update_lr_schedulers": ["self", "interval", "update_plateau_schedulers"],
    f"{LOOP}._num_ready_batches_reached": ["self"],
    f"{LOOP}._should_check_val_epoch": ["self"],
    "pytorch_lightning.loops.fetchers._DataFetcher": [],
    f"{FETCHER}.combined_loader": [],
    f"{CALL}._call_callback_hooks": ["trainer", "hook_name"],
    f"{CALL}._call_lightning_module_hook": ["trainer", "hook_name"],
    "pytorch_lightning.utilities.model_helpers.is_overridden": ["method_name", "instance"],
}
# Attributes of a trainer, its epoch loop, a data fetcher and a loader that is being iterated over.
ATTRIBUTES = (
    "trainer._val_check_time_interval",
    "trainer.val_check_batch",
    "loop._batches_that_stepped",
    "loop.automatic_optimization.optim_progress.optimizer.step.increment_by",
    "loop.automatic_optimization.optim_progress.optimizer.zero_grad.increment_by",
    "loop.batch_idx",
    "loop.batch_progress.current.ready",
    "loop.batch_progress.increment_by",
    "loop.batch_progress.is_last_batch",
    "loop.batch_progress.total.ready",
    "loop.global_step",
    "loop.restarting",
    "loop.scheduler_progress.increment_by",
    "loop.val_loop.restarting",
    "fetcher.done",
    "fetcher.fetched",
    "fetcher.length",
    "loader._iterator.iterators",
    "loader.iterables",
)


def install_fast_loop(trainer: pl.Trainer, steps_per_execution: int) -> bool:
    """Replace a new trainer's epoch loop by `FastTrainingEpochLoop`, or log what Lightning lacks for it.

    Returns:
        Whether the loop was replaced.

    Raises:
        ValueError: `steps_per_execution` is below 1.
    """
    if steps_per_execution < 1:
        raise ValueError(f"steps_per_execution must be at least 1, got {steps_per_execution}")
    if missing := missing_names(trainer):
        log.info(
            "using Lightning's own training loop (slower, same results): pytorch_lightning %s has no %s",
            pl.__version__,
            ", ".join(missing),
        )
        return False
    from dive.training.fast.epoch_loop import FastTrainingEpochLoop  # imports private names

    loop = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = FastTrainingEpochLoop(
        trainer, steps_per_execution, min_steps=loop.min_steps, max_steps=loop.max_steps
    )
    return True


def missing_names(trainer: pl.Trainer) -> list[str]:
    """The names used by the fast loop that Lightning lacks, or that are functions with other parameters."""
    if missing := [name for name, parameters in OBJECTS.items() if not _has_object(name, parameters)]:
        return missing
    loader = CombinedLoader([[]])
    iter(loader)
    owners = SimpleNamespace(
        trainer=trainer, loop=trainer.fit_loop.epoch_loop, fetcher=resolve_name(FETCHER)(), loader=loader
    )
    if missing := [name for name in ATTRIBUTES if not _has_attribute(owners, name)]:
        return missing
    return [] if _skips_removed_hooks() else ["check for hooks that are None"]


def _has_object(name: str, parameters: list[str]) -> bool:
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return not parameters or list(inspect.signature(found).parameters)[: len(parameters)] == parameters


def _has_attribute(owners: SimpleNamespace, name: str) -> bool:
    try:
        attrgetter(name)(owners)
    except AttributeError:
        return False
    return True


def _skips_removed_hooks() -> bool:
    """Whether Lightning ignores hooks that `drop_empty_hooks` has set to None."""
    owner = SimpleNamespace(hook=None)
    try:
        resolve_name(f"{CALL}._call_callback_hooks")(
            SimpleNamespace(callbacks=[owner], lightning_module=None), "hook"
        )
        resolve_name(f"{CALL}._call_lightning_module_hook")(SimpleNamespace(lightning_module=owner), "hook")
    except (AttributeError, TypeError):
        return False
    return True
