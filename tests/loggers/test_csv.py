"""CSVLogger writes the same table as Lightning's."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning import loggers
from pytorch_lightning.utilities import rank_zero_only

from dive.loggers import CSVLogger

CALLS: tuple[tuple[int, dict[str, float]], ...] = (
    (3, {"val/loss": 0.25, "epoch": 0}),
    (3, {"train/loss": 0.5, "lr": 0.1, "epoch": 0}),
    (7, {"val/loss": 0.125, "epoch": 1}),
)


def read_table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_table_equals_that_of_lightning(tmp_path: Path) -> None:
    ours, theirs = CSVLogger(tmp_path), loggers.CSVLogger(tmp_path / "theirs", name="", version="")
    for step, metrics in CALLS:
        ours.log_metrics(metrics, step)
        theirs.log_metrics(metrics, step)
    ours.finalize("success")
    theirs.finalize("success")
    assert read_table(tmp_path / "csv" / "metrics.csv") == read_table(tmp_path / "theirs" / "metrics.csv")


def test_resumed_run_has_each_row_once(tmp_path: Path) -> None:
    uninterrupted, resumed = CSVLogger(tmp_path / "uninterrupted"), CSVLogger(tmp_path / "resumed")
    for logger in (uninterrupted, resumed):
        logger.path.parent.parent.mkdir()
        for step, metrics in CALLS:
            logger.log_metrics(metrics, step)
        logger.save()
    again = CSVLogger(tmp_path / "resumed")
    again.truncate_after(4)  # after 4 steps: the last one is step 3
    again.log_metrics(CALLS[2][1], CALLS[2][0])
    again.save()
    assert uninterrupted.path.read_bytes() == resumed.path.read_bytes()


def test_no_table_without_rows(tmp_path: Path) -> None:
    CSVLogger(tmp_path).finalize("failed")
    assert not list(tmp_path.iterdir())


def test_other_ranks_do_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = CSVLogger(tmp_path)
    logger.log_metrics(CALLS[0][1], 3)
    logger.finalize("success")
    assert not list(tmp_path.iterdir())


def test_fit_writes_one_row_per_call(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit("model=linear_regression", "data.num_train=100", "data.num_val=50", "logger=csv")
    header, *rows = read_table(tmp_path / "csv" / "metrics.csv")
    assert {"epoch", "step", "train/loss", "val/loss"} <= set(header)
    assert [row[header.index("step")] for row in rows] == ["3", "3", "7", "7", "11", "11", "12"]
