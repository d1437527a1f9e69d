"""MetricsHistoryLogger: collecting, writing, reading and plotting metrics."""

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
from dive.runs.metrics_csv import best_step, final_metrics, read_metrics
from dive.runs.signals import RunInterrupted, SignalHandlers

pytestmark = pytest.mark.curves

LINEAR = ("model=linear_regression", "data.num_train=100", "data.num_val=50")


def log_three_epochs(folder: Path) -> MetricsHistoryLogger:
    """Three epochs of four steps: the loss is best in the second, the accuracy in the third."""
    history = MetricsHistoryLogger(folder)
    for epoch, (loss, acc) in enumerate([(3.0, 0.1), (1.0, 0.2), (2.0, 0.3)]):
        history.log_metrics({"val/loss": loss, "val/acc": acc, "epoch": epoch}, step=4 * epoch + 3)
        history.log_metrics({"train/loss": loss / 2, "train/acc": acc / 2, "epoch": epoch}, step=4 * epoch + 3)
    history.log_metrics({"error/w": 0.25}, step=12)
    return history


def test_metrics_of_a_step_are_one_row(tmp_path: Path) -> None:
    rows = log_three_epochs(tmp_path).rows
    assert list(rows) == [3, 7, 11, 12]
    assert rows[7] == {"val/loss": 1.0, "val/acc": 0.2, "train/loss": 0.5, "train/acc": 0.1, "epoch": 1.0}
    assert rows[12] == {"error/w": 0.25}


def test_metrics_without_a_step_are_logged_at_step_0(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"loss": 1})
    assert history.rows == {0: {"loss": 1.0}}


def test_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = log_three_epochs(tmp_path)
    history.log_metrics({"val/loss": math.inf, "tiny": 1 / 3 * 1e-30, "zero": 0.0}, step=13)
    history.save()
    assert read_metrics(tmp_path / "metrics.csv") == history.rows


def test_nan_is_read_as_nan(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"val/loss": math.nan}, step=1)
    history.save()
    assert math.isnan(read_metrics(tmp_path / "metrics.csv")[1]["val/loss"])


def test_table_has_one_column_per_metric_and_is_sorted_by_step(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"a": 1}, step=9)
    history.log_metrics({"b": 2}, step=3)
    history.save()
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["step", "a", "b"], ["3", "", "2.0"], ["9", "1.0", ""]]


def test_saving_again_replaces_the_table_and_leaves_no_other_file(tmp_path: Path) -> None:
    history = log_three_epochs(tmp_path)
    history.save()
    history.log_metrics({"val/loss": 0.5, "epoch": 3}, step=15)
    history.save()
    assert read_metrics(tmp_path / "metrics.csv") == history.rows
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_missing_table_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == {}
    assert MetricsHistoryLogger(tmp_path).rows == {}


def test_resumed_run_continues_the_table(tmp_path: Path) -> None:
    first = log_three_epochs(tmp_path)
    first.save()
    second = MetricsHistoryLogger(tmp_path)
    assert second.rows == first.rows
    second.log_metrics({"val/loss": 0.5, "epoch": 3}, step=15)
    second.save()
    assert sorted(read_metrics(tmp_path / "metrics.csv")) == [3, 7, 11, 12, 15]
    assert second.rows[best_step(second.rows, "val/loss")]["epoch"] == 3


@pytest.mark.parametrize(
    ("step", "remaining"), [(0, []), (3, []), (4, [3]), (8, [3, 7]), (10, [3, 7]), (13, [3, 7, 11, 12])]
)
def test_resuming_drops_rows_after_the_checkpoint(tmp_path: Path, step: int, remaining: list[int]) -> None:
    log_three_epochs(tmp_path).save()
    history = MetricsHistoryLogger(tmp_path)
    history.truncate_after(step)  # after `step` steps: the last one has the index step - 1
    assert list(history.rows) == remaining
    history.save()
    assert list(read_metrics(tmp_path / "metrics.csv")) == remaining


def test_best_row_has_the_lowest_loss_or_the_highest_accuracy(tmp_path: Path) -> None:
    history = log_three_epochs(tmp_path)
    assert best_step(history.rows, "val/loss") == 7
    assert best_step(history.rows, "val/acc") == 11


def test_first_of_equally_good_rows_is_best(tmp_path: Path) -> None:
    history = log_three_epochs(tmp_path)
    history.log_metrics({"val/loss": 1.0, "epoch": 3}, step=15)
    assert history.rows[best_step(history.rows, "val/loss")]["epoch"] == 1


def test_non_finite_value_is_never_best(tmp_path: Path) -> None:
    history = log_three_epochs(tmp_path)
    for step, value in ((1, math.nan), (2, -math.inf), (13, math.nan)):
        history.log_metrics({"val/loss": value}, step=step)
    assert best_step(history.rows, "val/loss") == 7


def test_metric_that_was_not_logged_has_no_best_row(tmp_path: Path) -> None:
    assert best_step(log_three_epochs(tmp_path).rows, "test/acc") is None


def test_final_value_of_a_metric_is_that_of_the_last_step(tmp_path: Path) -> None:
    history = log_three_epochs(tmp_path)
    history.log_metrics({"val/loss": 9.0, "early": 7.0}, step=1)  # logged late, for an early step
    assert final_metrics(history.rows) == {
        "val/loss": 2.0,
        "val/acc": 0.3,
        "train/loss": 1.0,
        "train/acc": 0.15,
        "epoch": 2.0,
        "error/w": 0.25,
        "early": 7.0,
    }


def test_finalize_writes_the_table_and_plots_one_panel_per_metric(tmp_path: Path) -> None:
    history = log_three_epochs(tmp_path)
    history.finalize("success")
    assert read_metrics(tmp_path / "metrics.csv") == history.rows
    two_panels = imread(tmp_path / "curves.png")  # raises if it is not an image
    plot_curves({1: {"epoch": 0.0, "train/loss": 1.0}}, tmp_path / "one.png")
    one_panel = imread(tmp_path / "one.png")
    assert two_panels.shape[1] == 2 * one_panel.shape[1]
    assert two_panels.std() > 0  # not blank


def test_nothing_is_plotted_without_losses_and_accuracies(tmp_path: Path) -> None:
    plot_curves({1: {"epoch": 0.0, "lr": 0.1}, 2: {"train/loss": 1.0}}, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


@pytest.mark.parametrize(
    "values", [(0.0, 0.0), (1.0, math.nan), (math.inf, 1e30), (math.nan, math.nan), (-1.0, 2.0)]
)
def test_any_values_can_be_plotted(tmp_path: Path, values: tuple[float, float]) -> None:
    rows = {
        step: {"epoch": float(step), "train/loss": value, "val/loss": value / 2}
        for step, value in enumerate(values)
    }
    plot_curves(rows, tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").std() > 0


def test_fit_writes_one_row_per_epoch_and_curves(fit: Callable[..., Any], tmp_path: Path) -> None:
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


def test_signal_while_plotting_is_deferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plot_slowly(rows: Any, path: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        plot_curves(rows, path)

    monkeypatch.setattr("dive.loggers.history.plot_curves", plot_slowly)
    with SignalHandlers(lambda _: None), pytest.raises(RunInterrupted):
        log_three_epochs(tmp_path).finalize("success")
    assert imread(tmp_path / "curves.png").size > 0


def test_testing_after_the_fit_does_not_plot_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plotted: list[int] = []
    monkeypatch.setattr("dive.loggers.history.plot_curves", lambda rows, _: plotted.append(len(rows)))
    history = MetricsHistoryLogger(tmp_path)
    history.log_metrics({"epoch": 0, "train/loss": 1.0}, 3)
    history.finalize("success")
    history.log_metrics({"test/loss": 1.0}, 4)
    history.finalize("success")
    assert plotted == [1]
    history.log_metrics({"epoch": 1, "train/loss": 0.5}, 7)
    history.finalize("success")
    assert plotted == [1, 3]
