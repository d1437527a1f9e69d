"""Best and final metrics. Reading and writing are tested with `dive.loggers.MetricsHistoryLogger`."""

import math
from pathlib import Path

from dive.runs.metrics_csv import best_metrics, final_metrics, read_partial_metrics, write_metrics

ROWS = {
    9: {"epoch": 1.0, "val/loss": 0.2, "val/acc": 0.5},
    4: {"epoch": 0.0, "val/loss": 0.3, "val/acc": 0.8},
    14: {"epoch": 2.0, "val/loss": math.nan},
}


def test_best_row_depends_on_the_metric_mode_and_ignores_nan() -> None:
    assert best_metrics(ROWS, "val/loss") == ROWS[9]
    assert best_metrics(ROWS, "val/acc") == ROWS[4]
    assert best_metrics(ROWS, "val/mse") == {}


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
