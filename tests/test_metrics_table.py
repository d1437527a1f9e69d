"""metrics.csv: what of it is best, and what last. Reading and writing are tested with `dive.loggers.History`."""

import math

from dive.metrics_table import best, final

ROWS = {
    9: {"epoch": 1.0, "val/loss": 0.2, "val/acc": 0.5},
    4: {"epoch": 0.0, "val/loss": 0.3, "val/acc": 0.8},
    14: {"epoch": 2.0, "val/loss": math.nan},
}


def test_the_best_row_is_that_of_the_metric_s_direction_and_of_numbers() -> None:
    assert best(ROWS, "val/loss") == ROWS[9]
    assert best(ROWS, "val/acc") == ROWS[4]
    assert best(ROWS, "val/mse") == {}


def test_the_last_value_of_each_metric_is_final_whenever_it_came() -> None:
    last = final(ROWS)
    assert (last["epoch"], last["val/acc"]) == (2, 0.5)
    assert math.isnan(last["val/loss"])
