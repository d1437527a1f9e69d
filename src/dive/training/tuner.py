"""The batch-size finder, and code that it shares with the learning-rate finder; both run instead of training."""

import logging
import math
import re
import shlex

from pytorch_lightning.tuner import Tuner

from dive.config.tuner_request import TUNED_KEYS
from dive.data.datamodule import InMemoryDataModule
from dive.errors import RunError
from dive.runs.record import Config
from dive.tasks.task import Task
from dive.training.trainer import Trainer

log = logging.getLogger(__name__)


def isolated_config(config: Config) -> Config:
    """A configuration without callbacks, loggers and validation, which trains until the tuner stops it."""
    forever = {"max_epochs": -1, "check_val_every_n_epoch": 10**9, "fast_dev_run": False}
    return {**config, "callbacks": {}, "logger": {}, "trainer": {**config["trainer"], **forever}}


def find_batch_size(
    trainer: Trainer, task: Task, data: InMemoryDataModule, init_val: int, max_val: int, steps_per_trial: int
) -> int:
    """Double the batch size from `init_val` up to `max_val` and return the largest one that fits in memory.

    The task keeps its weights; the data module is left with the batch size that was tried last.

    Raises:
        RunError: not even a batch of one example fits.
    """
    num_examples = len(data.splits.train)

    completed: list[int] = []
    run = trainer.fit_loop.run

    def record_size() -> None:
        run()
        completed.append(data.batch_size)

    # Each trial is a search of a single size, since Lightning does not report whether a trial succeeded. Its own
    # search suggests sizes that it has not tried (below the first size, and at bounds) or that did not fit (the
    # whole data set).
    trainer.fit_loop.run = record_size

    def fits_in_memory(size: int) -> bool:
        data.batch_size = size
        trial = {"init_val": size, "max_trials": 1, "max_val": size + 1, "steps_per_trial": steps_per_trial}
        try:
            Tuner(trainer).scale_batch_size(task, datamodule=data, **trial)
        except ValueError as error:
            if size > 1:
                raise
            # Lightning continues with a batch size of 0.
            raise RunError("find_batch_size=true: not even a batch of one example fits in memory") from error
        return size in completed

    largest, too_large = min(init_val, num_examples), math.inf
    while not fits_in_memory(largest):
        largest, too_large = largest // 2, largest
    while (doubled := min(2 * largest, num_examples)) > largest and doubled <= max_val and doubled < too_large:
        largest, too_large = (doubled, too_large) if fits_in_memory(doubled) else (largest, doubled)
    if largest == num_examples:
        limit = "the size of the training set"
    else:
        limit = f"max_val={max_val}" if doubled > max_val else "memory"
    log.info("largest batch size: %d, limited by %s", largest, limit)
    return largest


def suggested_command(command: str, name: str, value: float | int) -> str:
    """The command that trains with the suggested value.

    >>> suggested_command("python train.py model=mlp find_lr=true optimizer.lr=1", "find_lr", 0.05)
    'python train.py model=mlp optimizer.lr=0.05'
    """
    dropped = re.compile(rf"\+*({'|'.join(TUNED_KEYS)}|tune\..*|{re.escape(TUNED_KEYS[name])}|hydra\.run\.dir)=")
    arguments = [argument for argument in shlex.split(command) if not dropped.match(argument)]
    return shlex.join([*arguments, f"{TUNED_KEYS[name]}={value}"])
