"""Whether lower or higher is better: mode=min, max or auto."""

import pytest

from dive.errors import ConfigError
from dive.tasks.metric_mode import HIGHER_IS_BETTER, LOWER_IS_BETTER, metric_mode


@pytest.mark.parametrize("metric", ["val/loss", "train/mse", "loss", "test/mae", "val/perplexity"])
def test_auto_infers_min_for_losses_and_errors(metric: str) -> None:
    assert metric_mode(metric) == metric_mode(metric, "auto") == "min"


@pytest.mark.parametrize("metric", ["val/acc", "test/accuracy", "acc", "val/f1", "val/r2"])
def test_auto_infers_max_for_scores(metric: str) -> None:
    assert metric_mode(metric) == metric_mode(metric, "auto") == "max"


@pytest.mark.parametrize("name", [*LOWER_IS_BETTER, *HIGHER_IS_BETTER])
def test_auto_knows_every_listed_name(name: str) -> None:
    assert metric_mode(f"val/{name}") == ("min" if name in LOWER_IS_BETTER else "max")


def test_auto_uses_the_last_part_of_the_name() -> None:
    assert metric_mode("loss/acc") == "max"
    assert metric_mode("acc/loss") == "min"


@pytest.mark.parametrize("metric", ["val/loss", "val/acc", "val/bleu"])
def test_explicit_mode_overrides_the_name(metric: str) -> None:
    assert metric_mode(metric, "min") == "min"
    assert metric_mode(metric, "max") == "max"


def test_auto_rejects_an_unknown_metric_and_names_the_alternatives() -> None:
    with pytest.raises(ConfigError, match=r"^monitor=val/luck: mode=auto cannot .*; set mode=max or mode=min$"):
        metric_mode("val/luck")


@pytest.mark.parametrize("mode", ["maximum", "", "MAX"])
def test_unknown_mode_is_rejected(mode: str) -> None:
    with pytest.raises(ConfigError, match=f"^mode={mode}: must be min, max or auto$"):
        metric_mode("val/loss", mode)
