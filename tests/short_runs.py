"""Short runs of any configuration, for fixtures and tests that need a fitted task or a recorded run."""

from pathlib import Path
from typing import NamedTuple

import pytest
from omegaconf import open_dict
from pytorch_lightning import seed_everything

import dive
from dive.config import compose
from dive.data.datamodule import InMemoryDataModule
from dive.runs.logging import silence_lightning
from dive.runs.record import Config
from dive.tasks.task import Task
from dive.training import instantiate
from dive.training.fit import TrainResult
from dive.training.trainer import Trainer

FEW_IMAGES = (
    *("data=garments", "data.num_train=320", "data.num_test=64", "data.val_size=64"),
    *("trainer=cpu", "trainer.max_epochs=3"),
)


def shortened(experiment: str) -> tuple[str, ...]:
    """The overrides of an experiment: on a few synthetic images instead of Fashion-MNIST, or on its own data."""
    overrides = (f"experiment={experiment}", "trainer=cpu")
    data_class = compose.compose_resolved(*overrides)["data"]["_target_"]
    return (*overrides, *FEW_IMAGES) if data_class == "dive.data.FashionMNISTDataModule" else overrides


def configure(overrides: tuple[str, ...], *changes: str) -> Config:
    """A configuration in which keys are changed: Hydra composes it once for all changes, such as ``"seed=1"``."""
    config = compose.compose_config(overrides)
    with open_dict(config):
        config.merge_with_dotlist(list(changes))
    return compose.resolve_config(config)


def train_short(directory: Path, experiment: str, *changes: str) -> Path:
    """Train and record a short run of an experiment with changed keys, without images."""
    return train_config(configure(("callbacks=lean", *shortened(experiment)), *changes), directory)


def instantiate_all(config: Config) -> tuple[Task, InMemoryDataModule]:
    """Instantiate task and data from one seed, as a run does."""
    seed_everything(config["seed"], verbose=False)
    data = instantiate.instantiate_datamodule(config)
    return instantiate.instantiate_task(config, data), data


class Fitted(NamedTuple):
    """A fitted task, its trainer and its resolved configuration."""

    task: Task
    trainer: Trainer
    settings: Config


def fit_config(config: Config, folder: Path) -> Fitted:
    """Fit as train.py does, without recording a run."""
    silence_lightning()  # a fixture of a module is set up before those of its tests
    task, data = instantiate_all(config)
    trainer = instantiate.instantiate_trainer(config, folder)
    trainer.fit(task, data)
    return Fitted(task, trainer, config)


def train_in(folder: Path, *overrides: str) -> TrainResult:
    """Train with `dive.train` in a folder, with an empty curves.png."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr("dive.loggers.history.plot_curves", lambda _, path: path.touch())
        return dive.train(overrides)


def train_config(config: Config, directory: Path) -> Path:
    """Train a configuration with `dive.train` and record the run in a directory."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compose, "compose_job", lambda _: (config, directory))
        return dive.train().directory
