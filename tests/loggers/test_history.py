"""The table of metrics: gathered, written, read again, and drawn."""

import csv
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

from dive.loggers import MetricsHistoryLogger
from dive.loggers.history import plot_curves
from dive.runs.csv_io import log
from dive.runs.metrics_csv import read_metrics
from dive.runs.signals import RunInterrupted, SignalHandlers

pytestmark = pytest.mark.curves

LINEAR = ("model=linear_regression", "data.num_train=100", "data.num_val=50")


def told(folder: Path) -> MetricsHistoryLogger:
    """Three epochs of four steps: the loss is best in the second, the accuracy in the third."""
    history = MetricsHistoryLogger(folder)
    for epoch, (loss, acc) in enumerate([(3.0, 0.1), (1.0, 0.2), (2.0, 0.3)]):
        history.log_metrics({"val/loss": loss, "val/acc": acc, "epoch": epoch}, step=4 * epoch + 3)
        history.log_metrics({"train/loss": loss / 2, "train/acc": acc / 2, "epoch": epoch}, step=4 * epoch + 3)
    history.log_metrics({"error/w": 0.25}, step=12)
    return history


def test_what_is_logged_at_one_step_is_one_row(tmp_path: Path) -> None:
    rows = told(tmp_path).rows
    assert list(rows) == [3, 7, 11, 12]
    assert rows[7] == {"val/loss": 1.0, "val/acc": 0.2, "train/loss": 0.5, "train/acc": 0.1, "epoch": 1.0}
    assert rows[12] == {"error/w": 0.25}


def test_what_is_logged_without_a_step_is_the_row_of_step_0(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"loss": 1})
    assert history.rows == {0: {"loss": 1.0}}


def test_the_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    history = told(tmp_path)
    history.log_metrics({"val/loss": math.inf, "tiny": 1 / 3 * 1e-30, "zero": 0.0}, step=13)
    history.save()
    assert read_metrics(tmp_path / "metrics.csv") == history.rows


def test_a_number_that_is_none_comes_back_too(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"val/loss": math.nan}, step=1)
    history.save()
    assert math.isnan(read_metrics(tmp_path / "metrics.csv")[1]["val/loss"])


def test_the_table_has_a_column_a_metric_and_is_sorted_by_step(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"a": 1}, step=9)
    history.log_metrics({"b": 2}, step=3)
    history.save()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["step", "a", "b"], ["3", "", "2.0"], ["9", "1.0", ""]]


def test_saving_again_replaces_the_table_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    history = told(tmp_path)
    history.save()
    history.log_metrics({"val/loss": 0.5, "epoch": 3}, step=15)
    history.save()
    assert read_metrics(tmp_path / "metrics.csv") == history.rows
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_without_a_table_there_are_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == {}
    assert MetricsHistoryLogger(tmp_path).rows == {}


def test_a_resumed_run_goes_on_with_the_rows_of_the_earlier_one(tmp_path: Path) -> None:
    first = told(tmp_path)
    first.save()
    second = MetricsHistoryLogger(tmp_path)
    assert second.rows == first.rows
    second.log_metrics({"val/loss": 0.5, "epoch": 3}, step=15)
    second.save()
    assert sorted(read_metrics(tmp_path / "metrics.csv")) == [3, 7, 11, 12, 15]
    assert second.best("val/loss")["epoch"] == 3


@pytest.mark.parametrize(
    ("step", "left"), [(0, []), (3, []), (4, [3]), (8, [3, 7]), (10, [3, 7]), (13, [3, 7, 11, 12])]
)
def test_going_on_from_a_checkpoint_forgets_what_was_logged_after_it(
    tmp_path: Path, step: int, left: list[int]
) -> None:
    told(tmp_path).save()
    history = MetricsHistoryLogger(tmp_path)
    history.truncate_after(step)  # after so many steps; the last of them has the number before
    assert list(history.rows) == left
    history.save()
    assert list(read_metrics(tmp_path / "metrics.csv")) == left


def test_the_best_row_is_the_lowest_loss_or_the_highest_accuracy(tmp_path: Path) -> None:
    history = told(tmp_path)
    assert history.best("val/loss") == history.rows[7]
    assert history.best("val/acc") == history.rows[11]


def test_of_rows_as_good_as_each_other_the_first_is_best(tmp_path: Path) -> None:
    history = told(tmp_path)
    history.log_metrics({"val/loss": 1.0, "epoch": 3}, step=15)
    assert history.best("val/loss")["epoch"] == 1


def test_a_value_that_is_no_number_is_never_best(tmp_path: Path) -> None:
    history = told(tmp_path)
    for step, value in ((1, math.nan), (2, -math.inf), (13, math.nan)):
        history.log_metrics({"val/loss": value}, step=step)
    assert history.best("val/loss") == history.rows[7]


def test_a_metric_never_logged_has_no_best_row(tmp_path: Path) -> None:
    assert told(tmp_path).best("test/acc") == {}


def test_the_final_value_of_each_metric_is_its_last(tmp_path: Path) -> None:
    history = told(tmp_path)
    history.log_metrics({"val/loss": 9.0, "early": 7.0}, step=1)  # logged late, of an early step
    assert history.final() == {
        "val/loss": 2.0,
        "val/acc": 0.3,
        "train/loss": 1.0,
        "train/acc": 0.15,
        "epoch": 2.0,
        "error/w": 0.25,
        "early": 7.0,
    }


def test_finalizing_writes_the_table_and_a_picture_with_a_panel_a_metric(tmp_path: Path) -> None:
    history = told(tmp_path)
    history.finalize("success")
    assert read_metrics(tmp_path / "metrics.csv") == history.rows
    two_panels = imread(tmp_path / "curves.png")  # matplotlib refuses what is no picture
    plot_curves({1: {"epoch": 0.0, "train/loss": 1.0}}, tmp_path / "one.png")
    one_panel = imread(tmp_path / "one.png")
    assert two_panels.shape[1] == 2 * one_panel.shape[1]
    assert two_panels.std() > 0  # not a blank sheet


def test_without_losses_and_accuracies_nothing_is_drawn(tmp_path: Path) -> None:
    plot_curves({1: {"epoch": 0.0, "lr": 0.1}, 2: {"train/loss": 1.0}}, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (1.0, math.nan), (math.inf, 1e30), (math.nan, math.nan), (-1.0, 2.0)]
)
def test_any_values_can_be_drawn(tmp_path: Path, values: tuple[float, float]) -> None:
    rows = {
        step: {"epoch": float(step), "train/loss": value, "val/loss": value / 2}
        for step, value in enumerate(values)
    }
    plot_curves(rows, tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").std() > 0


def test_a_fit_leaves_a_row_an_epoch_and_its_curves(fit: Callable[..., Any], tmp_path: Path) -> None:
    fitted = fit(*LINEAR)
    rows = read_metrics(tmp_path / "metrics.csv")
    epochs = [row for row in rows.values() if "epoch" in row]
    assert [row["epoch"] for row in epochs] == [0, 1, 2]
    assert all({"train/loss", "val/loss", "train/mse", "val/mse", "lr"} <= row.keys() for row in epochs)
    last = {name: value.item() for name, value in fitted.trainer.callback_metrics.items()}
    assert {name: epochs[-1][name] for name in last} == pytest.approx(last)
    assert epochs[-1]["lr"] == 0.03  # not the float32 nearest to it, 0.029999999329447746
    assert imread(tmp_path / "curves.png").std() > 0


def test_a_line_that_breaks_off_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss,val/loss\n9,0.5,0.6\n19,0.")
    log.addHandler(caplog.handler)
    assert read_metrics(path) == {9: {"train/loss": 0.5, "val/loss": 0.6}}
    log.removeHandler(caplog.handler)
    assert f"{path} is corrupt: skipped" in caplog.text


def test_a_signal_while_the_curves_are_drawn_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(rows: Any, path: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        plot_curves(rows, path)

    monkeypatch.setattr("dive.loggers.history.plot_curves", slow)
    with SignalHandlers(lambda _: None), pytest.raises(RunInterrupted):
        told(tmp_path).finalize("success")
    assert imread(tmp_path / "curves.png").size > 0


def test_a_test_after_the_fit_draws_nothing_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr("dive.loggers.history.plot_curves", lambda rows, _: drawn.append(len(rows)))
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"epoch": 0, "train/loss": 1.0}, 3)
    history.finalize("success")
    history.log_metrics({"test/loss": 1.0}, 4)
    history.finalize("success")
    assert drawn == [1]
    history.log_metrics({"epoch": 1, "train/loss": 0.5}, 7)
    history.finalize("success")
    assert drawn == [1, 3]
