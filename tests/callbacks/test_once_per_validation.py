"""Score, best checkpoint and its metrics belong to the same validation; early stopping counts validations."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from dive.callbacks import BestCheckpoint, EarlyStopping
from dive.data import SyntheticRegression
from dive.loggers import MetricsHistoryLogger
from dive.models import LinearRegression
from dive.runs import checkpoint_io
from dive.tasks.task import RegressionTask
from dive.training.result import collect_result
from dive.training.trainer import Trainer


class Scripted(RegressionTask):
    """A regression whose n-th validation has the n-th value."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.01))
        self.values = iter(values)  # the first is that of the sanity check

    def on_validation_epoch_end(self) -> None:
        """Log the next value."""
        self.log("val/loss", next(self.values))


def fit(folder: Path, values: Sequence[float], *callbacks: pl.Callback, **settings: Any) -> Trainer:
    """Fit for three epochs of ten steps."""
    trainer = Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=MetricsHistoryLogger(folder),
        enable_checkpointing=any(isinstance(callback, BestCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 3, **settings},
    )
    trainer.fit(Scripted(values), SyntheticRegression([2.0, -3.4], 4.2, 0.1, 40, 8, batch_size=4))
    return trainer


WITHIN = {"val_check_interval": 0.5}  # at steps 5, 10, 15, ...
EVERY_FOUR = {"val_check_interval": 4}  # at steps 4, 8, 14, 18, ...: not at the ends of epochs
ACROSS = {"val_check_interval": 7, "check_val_every_n_epoch": None}  # at steps 7, 14, 21, 28
EVERY_SECOND = {"check_val_every_n_epoch": 2}  # at step 20


@pytest.mark.parametrize(
    ("settings", "values", "step", "epoch"),
    [
        (WITHIN, [5, 4, 1, 3, 2, 6], 15, 2),
        (WITHIN, [5, 1, 4, 3, 2, 6], 10, 1),
        (WITHIN, [5, 4, 3, 3, 2, 1], 30, 3),
        (EVERY_FOUR, [5, 4, 6, 1, 2, 3], 18, 2),
        (ACROSS, [5, 1, 4, 3], 14, 2),
        (EVERY_SECOND, [5], 20, 2),
        ({**WITHIN, "max_steps": 15}, [5, 4, 1], 15, 2),
        ({}, [5, 1, 4], 20, 2),
    ],
)
def test_score_weights_and_metrics_belong_to_one_step(
    settings: dict[str, Any], values: list[float], step: int, epoch: int, tmp_path: Path
) -> None:
    trainer = fit(tmp_path, [10.0, *values], BestCheckpoint("val/loss"), **settings)
    result = collect_result(trainer, {"seed": 0, "monitor": "val/loss", "mode": "auto"})
    assert (result["best_step"], result["best_epoch"], result["score"]) == (step, epoch, min(values))
    assert result["metrics"]["best"]["val/loss"] == min(values)
    saved = checkpoint_io.load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert saved["global_step"] == step
    rows = trainer.loggers[0].rows  # type: ignore[attr-defined]
    logged = {number + 1: row["val/loss"] for number, row in rows.items() if "val/loss" in row}
    assert list(logged.values()) == values, "each validation is a row"
    assert logged[step] == min(values)


@pytest.mark.parametrize(
    ("settings", "values", "steps"),
    [
        (WITHIN, [5, 4, 4.5, 4.2, 1, 1], 20),
        (EVERY_FOUR, [5, 6, 7, 1, 1, 1], 14),
        (EVERY_SECOND | {"max_epochs": 10}, [5, 6, 7, 1, 1], 60),
    ],
)
def test_patience_counts_validations(
    settings: dict[str, Any], values: list[float], steps: int, tmp_path: Path
) -> None:
    stopping = EarlyStopping("val/loss", patience=2)
    assert fit(tmp_path, [10.0, *values], stopping, **settings).global_step == steps
    assert stopping.wait_count == 2


def test_a_metric_of_training_counts_once_per_epoch(tmp_path: Path) -> None:
    stopping = EarlyStopping("train/loss", patience=1, min_delta=1e6)
    assert fit(tmp_path, range(99), stopping, **WITHIN).global_step == 20


def test_without_validation_each_epoch_counts(tmp_path: Path) -> None:
    best = BestCheckpoint("train/loss")
    fit(tmp_path, [], best, limit_val_batches=0)
    assert best.best_model_score is not None


def test_a_second_fit_is_evaluated_at_the_same_step(tmp_path: Path) -> None:
    stopping = EarlyStopping("val/loss", patience=9)
    for count in (1, 2):
        fit(tmp_path, [0.0, 5], stopping, max_epochs=1)
        assert stopping.wait_count == count - 1


def test_the_sanity_check_does_not_count(tmp_path: Path) -> None:
    best = BestCheckpoint("val/loss")
    fit(tmp_path, [0.0, 5, 4, 3], best)
    assert best.best_model_score == 3
