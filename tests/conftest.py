"""What all tests share: quiet Lightning, the real data set where it is, short runs of any configuration."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import pytorch_lightning as pl

from dive import build
from dive.compose import settings
from dive.log import quiet
from dive.tasks import Task
from dive.trainer import Trainer

ROOT = Path(__file__).parents[1]
# pytest puts its own filters in place for each test, so these stand in the fixture `quiet_lightning`.


@pytest.fixture(autouse=True)
def quiet_lightning() -> None:
    """Warnings are errors, but for those that dive itself silences."""
    quiet()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The data folder that holds the real Fashion-MNIST; skips where there is none."""
    for root in (os.environ.get("DIVE_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz").is_file():
            return Path(root)
    pytest.skip("the real Fashion-MNIST is neither in $DIVE_DATA nor in data/ nor in ../shared/data")


class Fitted(NamedTuple):
    """What a run in this process leaves."""

    task: Task
    trainer: Trainer
    settings: build.Config


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Fitted]:
    """Compose, build and fit, as train.py does: ``fit("model=mlp", "data=garments")``."""

    def fitted(*overrides: str) -> Fitted:
        config = settings("trainer=cpu", *overrides)
        pl.seed_everything(config["seed"], verbose=False)
        data = build.data(config)
        task = build.task(config, data)
        trainer = build.trainer(config, tmp_path)
        trainer.fit(task, data)
        return Fitted(task, trainer, config)

    return fitted
