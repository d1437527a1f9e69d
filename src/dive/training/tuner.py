"""Look for a learning rate or a batch size, by Lightning's tuner, in place of training."""

import logging
import math
import re
import shlex

from pytorch_lightning.tuner import Tuner

from dive.config.tuner_request import TUNED_KEYS
from dive.data.datamodule import InMemoryDataModule
from dive.errors import ConfigError, RunError
from dive.runs.record import Config
from dive.tasks.task import Task
from dive.training.lr_finder import find_lr
from dive.training.trainer import Trainer

log = logging.getLogger(__name__)


def isolated_config(config: Config) -> Config:
    """A configuration without observers, loggers and an end: none of them is to see a search."""
    forever = {"max_epochs": -1, "check_val_every_n_epoch": 10**9, "fast_dev_run": False}
    return {**config, "callbacks": {}, "logger": {}, "trainer": {**config["trainer"], **forever}}


def search(name: str, config: Config, trainer: Trainer, task: Task, data: InMemoryDataModule) -> float | int:
    """Search, and leave what was seen of it in the run's directory.

    Args:
        name: of the search, from `requested_tuner`.
        config: the resolved configuration.
        trainer: made for `isolated_config`.
        task: has its weights of before, afterwards.
        data: to train on; it has the batch size that was tried last, afterwards.

    Returns:
        The value that is suggested for the key that `TUNED_KEYS` names.

    Raises:
        ConfigError: there are several processes.
        RunError: nothing was found.
    """
    if trainer.world_size > 1:
        raise ConfigError(f"{name}=true: searches in one process; trainer.devices=1")
    if name == "find_batch_size":
        return find_batch_size(trainer, task, data, **config["tune"]["find_batch_size"])
    return find_lr(trainer, task, data, **config["tune"]["find_lr"])


def find_batch_size(
    trainer: Trainer, task: Task, data: InMemoryDataModule, init_val: int, max_val: int, steps_per_trial: int
) -> int:
    """The largest batch size, doubled from `init_val`, with which steps fit into memory.

    Args:
        trainer: for the search.
        task: what to train.
        data: what to train it on.
        init_val: where to begin.
        max_val: where to end.
        steps_per_trial: steps that have to fit.

    Raises:
        RunError: not even one example fits.
    """
    examples = len(data.splits.train)

    completed: list[int] = []
    run = trainer.fit_loop.run

    def noted() -> None:
        run()
        completed.append(data.batch_size)

    # Lightning does not tell whether a trial went well: of a search of its own, it suggests what it has not tried,
    # below the first size and at bounds, and what did not fit, of the whole set.
    trainer.fit_loop.run = noted

    def fits(size: int) -> bool:
        data.batch_size = size
        trial = {"init_val": size, "max_trials": 1, "max_val": size + 1, "steps_per_trial": steps_per_trial}
        try:
            Tuner(trainer).scale_batch_size(task, datamodule=data, **trial)
        except ValueError as error:
            if size > 1:
                raise
            # It goes on with half of the only example.
            raise RunError("find_batch_size=true: not even one example at a time fits into memory") from error
        return size in completed

    found, too_large = min(init_val, examples), math.inf
    while not fits(found):
        found, too_large = found // 2, found
    while (larger := min(2 * found, examples)) > found and larger <= max_val and larger < too_large:
        found, too_large = (larger, too_large) if fits(larger) else (found, larger)
    more = "the whole set" if found == examples else f"max_val={max_val}" if larger > max_val else "memory"
    log.info("batches of %d were the largest: what ended the search was %s", found, more)
    return found


def suggested_command(typed: str, name: str, value: float | int) -> str:
    """What to type to train with what was found.

    >>> suggested_command("python train.py model=mlp find_lr=true optimizer.lr=1", "find_lr", 0.05)
    'python train.py model=mlp optimizer.lr=0.05'
    """
    dropped = re.compile(rf"\+*({'|'.join(TUNED_KEYS)}|tune\..*|{re.escape(TUNED_KEYS[name])}|hydra\.run\.dir)=")
    words = [word for word in shlex.split(typed) if not dropped.match(word)]
    return shlex.join([*words, f"{TUNED_KEYS[name]}={value}"])
