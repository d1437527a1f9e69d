"""What a run does, nouns then verbs: for the command line, and for notebooks."""

import logging
import shlex
from collections.abc import Sequence
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
from dive.training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """What came out of a run.

    Attributes:
        result: all that ``result.json`` holds but for time and memory.
        directory: of the run.
        task: in evaluation mode, with the weights of the best epoch, or the last where no best one is kept.
        data: what it was trained on.
        trainer: that trained it.
    """

    result: result.Result
    directory: Path
    task: Task
    data: InMemoryDataModule
    trainer: Trainer

    @property
    def metrics(self) -> dict[str, float]:
        """Of the epoch that is best by `monitor`, by name: ``val/acc``, ``test/acc``, ..."""
        return self.result["metrics"]["best"]

    @property
    def final(self) -> dict[str, float]:
        """Of the last epoch."""
        return self.result["metrics"]["final"]

    @property
    def model(self) -> nn.Module:
        """The task's model: ``inputs: (batch, ...)`` to ``(batch, num_outputs)``."""
        return self.task.model


def execute(settings: Config, run: Run) -> TrainResult:
    """Do what is configured: train and test, or search instead.

    Args:
        settings: resolved and checked.
        run: entered; where all is recorded.
    """
    name = requested_tuner(settings)
    return fit_and_test(settings, run) if name is None else run_tuner(name, settings, run)


def fit_and_test(settings: Config, run: Run) -> TrainResult:
    """Fit the configured model, test its best epoch, and record the result.

    Args:
        settings: resolved and checked.
        run: entered; where all is recorded.
    """
    data, task, trainer = _built(settings, run)

    trainer.fit(task, data, ckpt_path=run.checkpoint, weights_only=True)
    if data.has_test:
        best = result.best_checkpoint(trainer, settings["monitor"])
        trainer.test(task, data, ckpt_path=best, weights_only=True, verbose=False)
    trainer.teardown_loggers()

    outcome = result.collect_result(trainer, settings)
    run.finish(outcome)
    return TrainResult(outcome, run.directory, task, data, trainer)


def run_tuner(name: str, settings: Config, run: Run) -> TrainResult:
    """Look for a learning rate or a batch size, tell the command that trains with it, and record it.

    Args:
        name: of the search, as `requested_tuner` tells it.
        settings: resolved and checked.
        run: entered; where all is recorded.
    """
    data, task, trainer = _built(tuner.isolated_config(settings), run)

    found = tuner.search(name, settings, trainer, task, data)

    outcome = result.collect_result(trainer, settings) | {name.replace("find", "suggested"): found}
    run.finish(outcome)
    log.info("to train with it: %s", tuner.suggested_command(run.command, name, found))
    return TrainResult(outcome, run.directory, task, data, trainer)


def _built(settings: Config, run: Run) -> tuple[InMemoryDataModule, Task, Trainer]:
    silence_lightning()
    seed_everything(settings["seed"], verbose=False)
    data = instantiate.instantiate_datamodule(settings)
    task = instantiate.instantiate_task(settings, data)
    return data, task, instantiate.instantiate_trainer(settings, run.directory)


def train(overrides: Sequence[str] = ()) -> TrainResult:
    """Do what ``python train.py`` does with these overrides, in this process, and hand over what came out.

    The run is recorded as from the command line, below the working directory.

    Args:
        overrides: as on the command line, ``["model=mlp", "optimizer.lr=0.3"]``; of `resume=RUN_DIR`, too.

    Raises:
        ConfigError: the overrides cannot be composed or run.
        KeyboardInterrupt: it was interrupted; `resume=RUN_DIR` goes on.
    """
    if isinstance(overrides, str) or not all(isinstance(word, str) for word in overrides):
        raise ConfigError(f"overrides must be a list of texts, such as ['model=mlp'], got {overrides!r}")
    if option := next((word for word in overrides if word.startswith("-")), None):
        raise ConfigError(f"{option}: is for the command line; here are overrides, such as 'model=mlp'")
    settings, directory = compose.compose_job(overrides)
    command = shlex.join(["python", "train.py", *overrides])
    try:
        with Run(directory, settings, command=command, resume=settings["resume"] is not None) as run:
            trained = execute(settings, run)
    except SystemExit as interrupted:  # would end a notebook's kernel
        raise KeyboardInterrupt from interrupted
    result.print_result(trained.result, run.directory)
    if best := result.best_checkpoint(trained.trainer, settings["monitor"]):
        trained.task.load_state_dict(checkpoint_io.load_checkpoint(Path(best))["state_dict"])
    trained.task.eval()
    return trained
