"""Best and final metrics. Reading and writing are tested with `dive.loggers.MetricsHistoryLogger`."""

import math
from pathlib import Path

from dive.runs.metrics_csv import best_step, epoch_positions, final_metrics, read_partial_metrics, write_metrics

ROWS = {
    9: {"epoch": 1.0, "val/loss": 0.2, "val/acc": 0.5},
    4: {"epoch": 0.0, "val/loss": 0.3, "val/acc": 0.8},
    14: {"epoch": 2.0, "val/loss": math.nan},
}


def test_best_row_depends_on_the_metric_mode_and_ignores_nan() -> None:
    assert best_step(ROWS, "val/loss") == 9
    assert best_step(ROWS, "val/acc") == 4
    assert best_step(ROWS, "val/mse") is None


def test_positions_of_steps_on_an_axis_of_epochs() -> None:
    def row(epoch: int, name: str = "val/loss") -> dict[str, float]:
        return {"epoch": epoch, name: 1.0}

    assert epoch_positions({}) == {}
    assert epoch_positions({4: row(0), 9: row(1)}) == {4: 1, 9: 2}, "without training metrics: whole epochs"
    rows = {4: row(0), 9: row(0, "train/loss"), 14: row(1), 19: row(1, "train/loss"), 24: row(2), 29: {"x": 1.0}}
    assert epoch_positions(rows) == {4: 0.5, 9: 1, 14: 1.5, 19: 2, 24: 2.5}
    assert epoch_positions({9: row(0, "train/loss"), 11: row(1)}) == {9: 1, 11: 1.2}


def test_final_metrics_are_the_last_value_of_each() -> None:
    last = final_metrics(ROWS)
    assert (last["epoch"], last["val/acc"]) == (2, 0.5)
    assert math.isnan(last["val/loss"])


def test_epoch_with_nan_can_be_final_but_not_best_in_partial_metrics(tmp_path: Path) -> None:
    assert read_partial_metrics(tmp_path) == {"best": {}, "final": {}}
    write_metrics(ROWS | {19: {"epoch": 3.0, "val/loss": math.nan, "val/acc": 0.9}}, tmp_path / "metrics.csv")
    assert read_partial_metrics(tmp_path)["best"] == {}
    (tmp_path / "config.yaml").write_text("monitor: val/acc")
    found = read_partial_metrics(tmp_path)
    assert found["best"] == {"val/loss": 0.3, "val/acc": 0.8}
    assert found["final"]["val/acc"] == 0.9
    assert math.isnan(found["final"]["val/loss"])
