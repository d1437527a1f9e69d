"""Which way a metric is better is told by its name."""

import pytest

from dive.tasks.metric_mode import HIGHER_IS_BETTER, LOWER_IS_BETTER, metric_mode


@pytest.mark.parametrize("metric", ["val/loss", "train/mse", "loss", "test/mae", "val/perplexity"])
def test_losses_and_errors_should_fall(metric: str) -> None:
    assert metric_mode(metric) == "min"


@pytest.mark.parametrize("metric", ["val/acc", "test/accuracy", "acc", "val/f1", "val/r2"])
def test_scores_should_rise(metric: str) -> None:
    assert metric_mode(metric) == "max"


def test_only_the_last_part_of_a_name_tells_its_direction() -> None:
    assert metric_mode("loss/acc") == "max"
    assert metric_mode("acc/loss") == "min"


def test_an_unknown_metric_is_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(ValueError, match="'val/luck'") as caught:
        metric_mode("val/luck")
    for name in LOWER_IS_BETTER + HIGHER_IS_BETTER:
        assert name in str(caught.value)
