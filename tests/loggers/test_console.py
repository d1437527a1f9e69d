"""ConsoleLogger prints one line per epoch."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dive.loggers import ConsoleLogger


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The lines logged so far, even if another test has disabled propagation."""
    monkeypatch.setattr(logging.getLogger("dive"), "propagate", True)
    caplog.set_level(logging.INFO, logger="dive")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "dive.loggers.console"]


def test_metrics_of_an_epoch_are_printed_once_the_training_loss_is_logged(lines: Callable[[], list[str]]) -> None:
    console = ConsoleLogger()
    console.log_metrics({"val/loss": 0.25, "val/acc": 0.5, "epoch": 0}, step=3)
    assert lines() == []
    console.log_metrics({"train/loss": 0.123456, "lr": 0.1, "train/samples_per_second": 9e9, "epoch": 0}, step=3)
    assert lines() == ["epoch  1  train/loss 0.1235  val/acc 0.5  val/loss 0.25"]


def test_line_contains_no_metrics_of_the_previous_epoch(lines: Callable[[], list[str]]) -> None:
    console = ConsoleLogger()
    console.log_metrics({"val/loss": 0.25, "train/loss": 1.0, "epoch": 8}, step=3)
    console.log_metrics({"train/loss": 0.5, "epoch": 9}, step=7)
    assert lines() == ["epoch  9  train/loss 1  val/loss 0.25", "epoch 10  train/loss 0.5"]


def test_values_are_rounded_as_in_the_result(lines: Callable[[], list[str]]) -> None:
    ConsoleLogger().log_metrics({"train/loss": torch.tensor(0.86765).item(), "epoch": 0}, step=3)
    assert lines() == ["epoch  1  train/loss 0.8677"]


def test_metrics_without_a_training_loss_print_nothing(lines: Callable[[], list[str]]) -> None:
    ConsoleLogger().log_metrics({"test/loss": 0.25, "test/acc": 0.5, "epoch": 3}, step=12)
    assert lines() == []


def test_fit_prints_one_line_per_epoch(lines: Callable[[], list[str]], fit: Callable[..., Any]) -> None:
    fitted = fit("model=linear_regression", "data.num_train=100", "data.num_val=50")
    written = lines()
    assert [line[:8] for line in written] == ["epoch  1", "epoch  2", "epoch  3"]
    last = fitted.trainer.callback_metrics
    shown = [f"{name} {last[name].item():.4g}" for name in ("train/loss", "train/mse", "val/loss", "val/mse")]
    assert written[-1] == "  ".join(["epoch  3", *shown])
