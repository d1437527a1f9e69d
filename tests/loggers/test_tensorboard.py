"""TensorBoardLogger: scalars read back from the event files."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.utilities import rank_zero_only
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from dive.loggers import MetricsHistoryLogger, TensorBoardLogger

GARMENTS = ("data=garments", "data.num_train=60", "data.num_test=30", "data.val_size=20", "data.batch_size=16")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values of each curve."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_regression_logs_one_point_per_epoch_on_each_curve(fit: Callable[..., Any], tmp_path: Path) -> None:
    fitted = fit("model=linear_regression", "data.num_train=100", "data.num_val=50")
    curves = scalars(tmp_path)
    history = next(logger for logger in fitted.trainer.loggers if isinstance(logger, MetricsHistoryLogger))
    for tag in ("train/loss", "val/loss", "train/mse", "val/mse", "lr"):
        assert [step for step, _ in curves[tag]] == [3, 7, 11]  # the last step of each epoch of four
        assert [value for _, value in curves[tag]] == pytest.approx(
            [history.rows[step][tag] for step in (3, 7, 11)]
        )
    assert [value for _, value in curves["lr"]] == pytest.approx([0.03] * 3)
    assert len(curves["error/w"]) == len(curves["error/b"]) == 1


def test_classification_also_logs_accuracies_and_test_metrics(fit: Callable[..., Any], tmp_path: Path) -> None:
    fitted = fit("model=softmax_regression", *GARMENTS, "trainer.max_epochs=2")
    tested = fitted.trainer.test(fitted.task, fitted.trainer.datamodule, verbose=False)[0]
    curves = scalars(tmp_path)
    for tag in ("train/loss", "val/loss", "train/acc", "val/acc", "lr"):
        assert len(curves[tag]) == 2
    assert [value for _, value in curves["test/acc"]] == [pytest.approx(tested["test/acc"])]
    assert not [tag for tag in curves if tag.startswith("error/") or tag == "hp_metric"]


def test_writes_an_event_file_and_nothing_else(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_metrics({"val/loss": 0.5}, step=3)
    logger.save()
    assert scalars(tmp_path)["val/loss"] == [(3, 0.5)]
    logger.finalize("success")
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("events.out.tfevents.")


def test_scalars_after_the_checkpoint_are_ignored_on_resume(tmp_path: Path) -> None:
    first = TensorBoardLogger(tmp_path)
    for step in range(6):
        first.log_metrics({"val/loss": float(step)}, step=step)
    first.finalize("success")
    time.sleep(1.1)  # files are read in the order of their names, which contain the second
    second = TensorBoardLogger(tmp_path)
    second.truncate_after(4)
    for step in (4, 5, 6):
        second.log_metrics({"val/loss": 10.0 * step}, step=step)
    second.finalize("success")
    assert scalars(tmp_path)["val/loss"] == [
        *((step, float(step)) for step in range(4)),
        *((step, 10.0 * step) for step in (4, 5, 6)),
    ]


def test_files_are_read_in_the_order_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough files that TensorBoard's counter in their names goes from 99 to 100."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(98))
    for step in range(4):
        logger = TensorBoardLogger(tmp_path)
        logger.log_metrics({"val/loss": step / 2}, step)
        logger.finalize("success")
    assert scalars(tmp_path) == {"val/loss": [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5)]}
    assert len(list(tmp_path.iterdir())) == 4


def test_fit_and_test_share_a_file(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    for step in range(2):
        logger.log_metrics({"val/loss": 1.0}, step)
        logger.finalize("success")
        assert len(scalars(tmp_path)["val/loss"]) == step + 1  # everything is flushed
    assert len(list(tmp_path.iterdir())) == 1


def test_writer_is_closed_with_its_logger(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    writer = logger.experiment
    assert writer.all_writers is not None
    del logger
    gc.collect()
    assert writer.all_writers is None


def test_other_ranks_neither_write_nor_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr("dive.loggers.tensorboard.later_second", pytest.fail)
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"val/loss": 1.0}, 0)
    logger.save()
    logger.finalize("success")
    assert not list(tmp_path.iterdir())
