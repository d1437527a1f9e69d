"""The table that Lightning's CSVLogger would write."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

from dive.loggers import CSVLogger

CALLS: tuple[tuple[int, dict[str, float]], ...] = (
    (3, {"val/loss": 0.25, "epoch": 0}),
    (3, {"train/loss": 0.5, "lr": 0.1, "epoch": 0}),
    (7, {"val/loss": 0.125, "epoch": 1}),
)


def table(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_it_is_the_table_of_lightning_s_own(tmp_path: Path) -> None:
    ours, theirs = CSVLogger(tmp_path), CSVLogger(tmp_path / "theirs", name="", version="")
    for step, metrics in CALLS:
        ours.log_metrics(metrics, step)
        theirs.log_metrics(metrics, step)
    ours.finalize("success")
    theirs.finalize("success")
    assert table(tmp_path / "csv" / "metrics.csv") == table(tmp_path / "theirs" / "metrics.csv")


def test_a_run_that_goes_on_has_each_row_once(tmp_path: Path) -> None:
    whole, part = CSVLogger(tmp_path / "whole"), CSVLogger(tmp_path / "part")
    for logger in (whole, part):
        logger.path.parent.parent.mkdir()
        for step, metrics in CALLS:
            logger.log_metrics(metrics, step)
        logger.save()
    again = CSVLogger(tmp_path / "part")
    again.truncate_after(4)  # after so many steps; the last of them has the number before
    again.log_metrics(CALLS[2][1], CALLS[2][0])
    again.save()
    assert whole.path.read_bytes() == part.path.read_bytes()


def test_without_a_row_there_is_no_table(tmp_path: Path) -> None:
    CSVLogger(tmp_path).finalize("failed")
    assert not list(tmp_path.iterdir())


def test_other_processes_do_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = CSVLogger(tmp_path)
    logger.log_metrics(CALLS[0][1], 3)
    logger.finalize("success")
    assert not list(tmp_path.iterdir())


def test_a_fit_leaves_a_row_a_call(fit: Callable[..., Any], tmp_path: Path) -> None:
    fit("model=linear_regression", "data.num_train=100", "data.num_val=50", "logger=csv")
    header, *rows = table(tmp_path / "csv" / "metrics.csv")
    assert {"epoch", "step", "train/loss", "val/loss"} <= set(header)
    assert [row[header.index("step")] for row in rows] == ["3", "3", "7", "7", "11", "11", "12"]
