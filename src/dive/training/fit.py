"""Train and test one configured run, from the command line or in a notebook."""

import logging
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytorch_lightning import seed_everything
from torch import nn

from dive.config import compose
from dive.config.tuner_request import requested_tuner
from dive.data.datamodule import InMemoryDataModule
from dive.errors import ConfigError
from dive.runs import checkpoint_io
from dive.runs.logging import silence_lightning
from dive.runs.record import Config
from dive.runs.run import Run
from dive.tasks.task import Task
from dive.training import instantiate, result, tuner
from dive.training.lr_finder import find_lr
from dive.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """The outcome of a run.

    Attributes:
        result: the content of ``result.json``, except time and memory.
        directory: the run directory.
        task: in evaluation mode, with the weights of the best epoch, or the last if no best checkpoint is saved.
        data: the data module that it was trained on.
        trainer: the trainer that trained it.
    """

    result: result.Result
    directory: Path
    task: Task
    data: InMemoryDataModule
    trainer: Trainer

    @property
    def metrics(self) -> dict[str, float]:
        """Metrics of the epoch that is best by `monitor`, by name: ``val/acc``, ``test/acc``, ..."""
        return self.result["metrics"]["best"]

    @property
    def final(self) -> dict[str, float]:
        """Metrics of the last epoch."""
        return self.result["metrics"]["final"]

    @property
    def model(self) -> nn.Module:
        """The task's model: maps ``(batch, ...)`` to ``(batch, num_outputs)``."""
        return self.task.model


def execute(config: Config, run: Run) -> TrainResult:
    """Run the requested tuner, or train and test; `config` has been validated, and `run` has been entered."""
    name = requested_tuner(config)
    return fit_and_test(config, run) if name is None else run_tuner(name, config, run)


def fit_and_test(config: Config, run: Run) -> TrainResult:
    """Fit the configured model, test its best epoch and record the result; `run` has been entered."""
    data, task, trainer = _instantiate(config, run)

    trainer.fit(task, data, ckpt_path=run.checkpoint, weights_only=True)
    if best := result.best_checkpoint(trainer, config["monitor"]):
        # Not by `trainer.test(ckpt_path=...)`: callbacks that average weights would replace them by others.
        task.load_state_dict(checkpoint_io.load_checkpoint(Path(best))["state_dict"])
    if data.has_test:
        trainer.test(task, data, verbose=False)
    trainer.teardown_loggers()

    outcome = result.collect_result(trainer, config)
    run.finish(outcome)
    return TrainResult(outcome, run.directory, task, data, trainer)


def run_tuner(name: str, config: Config, run: Run) -> TrainResult:
    """Find a learning rate or batch size, record it and log the command that trains with it.

    Raises:
        ConfigError: there are several processes.
        RunError: no value was found.
    """
    data, task, trainer = _instantiate(tuner.isolated_config(config), run)

    if trainer.world_size > 1:
        raise ConfigError(f"{name}=true: runs in one process only; set trainer.devices=1")
    finders: dict[str, Callable[..., float]] = {"find_lr": find_lr, "find_batch_size": tuner.find_batch_size}
    suggested = finders[name](trainer, task, data, **config["tune"][name])

    outcome = result.collect_result(trainer, config) | {name.replace("find", "suggested"): suggested}
    run.finish(outcome)
    log.info("to train with it: %s", tuner.suggested_command(run.command, name, suggested))
    return TrainResult(outcome, run.directory, task, data, trainer)


def _instantiate(config: Config, run: Run) -> tuple[InMemoryDataModule, Task, Trainer]:
    silence_lightning()
    seed_everything(config["seed"], verbose=False)
    data = instantiate.instantiate_datamodule(config)
    task = instantiate.instantiate_task(config, data)
    return data, task, instantiate.instantiate_trainer(config, run.directory)


def train(overrides: Sequence[str] = ()) -> TrainResult:
    """Run ``python train.py OVERRIDES`` in this process and return the outcome.

    The run directory is created below the working directory, as on the command line.

    Args:
        overrides: as on the command line, such as ``["model=mlp", "optimizer.lr=0.3"]`` or ``["resume=RUN_DIR"]``.

    Raises:
        ConfigError: the overrides cannot be composed or run.
        KeyboardInterrupt: the run was interrupted; `resume=RUN_DIR` resumes it.
    """
    if isinstance(overrides, str) or not all(isinstance(override, str) for override in overrides):
        raise ConfigError(f"overrides must be a list of strings, such as ['model=mlp'], got {overrides!r}")
    if flag := next((override for override in overrides if override.startswith("-")), None):
        raise ConfigError(f"{flag}: only for the command line; pass overrides, such as 'model=mlp'")
    config, directory = compose.compose_job(overrides)
    command = shlex.join(["python", "train.py", *overrides])
    try:
        with Run(directory, config, command=command, resume=config["resume"] is not None) as run:
            trained = execute(config, run)
    except SystemExit as interrupted:  # would end a notebook's kernel
        raise KeyboardInterrupt from interrupted
    result.print_result(trained.result, run.directory)
    trained.task.eval()
    return trained
