"""`log_epoch_metrics` compared with `LightningModule.log`."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from dive.data import SyntheticRegression
from dive.models import LinearRegression
from dive.tasks import epoch_logging, task
from dive.tasks.task import RegressionTask

SETTINGS: dict[str, dict[str, Any]] = {
    "at the end of epochs": {},
    "within epochs": {"val_check_interval": 2},
    "accumulated": {"accumulate_grad_batches": 2},
    "max_steps": {"max_steps": 5},
    "after a sanity check": {"num_sanity_val_steps": 2},
}


def fit_and_validate(folder: Path, **settings: Any) -> tuple[str, dict[str, float], list[Any]]:
    """The CSV file of a fit and a validation, the metrics for callbacks, and what `validate` returns."""
    torch.manual_seed(0)
    task = RegressionTask(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))
    data = SyntheticRegression(w=[2.0, -3.4], b=4.2, noise=0.1, num_train=14, num_val=8, batch_size=4)
    trainer = pl.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=CSVLogger(folder, name="", version=""),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 3, "num_sanity_val_steps": 0, **settings},
    )
    trainer.fit(task, data)
    monitored = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert trainer.logged_metrics.keys() == monitored.keys()
    returned = trainer.validate(task, data, verbose=False)
    return (folder / "metrics.csv").read_text(), monitored, returned


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_logs_the_same_as_lightning(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = fit_and_validate(tmp_path / "ours", **settings)

    def lightning_log(module: pl.LightningModule, metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            module.log(name, value)

    monkeypatch.setattr(task, "log_epoch_metrics", lightning_log)
    assert ours == fit_and_validate(tmp_path / "lightning", **settings)
    assert ours[1].keys() == {"train/loss", "train/mse", "val/loss", "val/mse"}


def test_no_call_without_metrics(tmp_path: Path) -> None:
    calls: list[Any] = []
    logger = type("Recorder", (CSVLogger,), {"log_metrics": lambda _, *arguments, **__: calls.append(arguments)})
    task = RegressionTask(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))
    task.on_train_epoch_start = lambda: epoch_logging.log_epoch_metrics(task, {})  # type: ignore[method-assign]
    data = SyntheticRegression(w=[1.0, 1.0], b=0.0, noise=0.1, num_train=4, num_val=4, batch_size=4)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=logger(tmp_path),
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(task, data)
    assert len(calls) == 1
