"""The learning-rate finder, compared with a hand-written loop."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.image import imread
from tests.short_runs import instantiate_all, train_in

from dive.config.compose import compose_resolved
from dive.errors import RunError
from dive.runs.csv_io import read_csv
from dive.runs.record import Config
from dive.training import instantiate
from dive.training.fit import TrainResult
from dive.training.lr_finder import find_lr, plot_lr_curve, suggest_lr
from dive.training.tuner import isolated_config

GARMENTS = (
    "model=mlp",
    "model.num_hiddens=[64]",
    "data=garments",
    "data.num_train=500",
    "data.num_test=30",
    "data.val_size=20",
    "data.batch_size=64",
    "trainer=cpu",
)
STEPS = 100
SEARCH = ("find_lr=true", f"tune.find_lr.num_training={STEPS}", "tune.find_lr.early_stop_threshold=null")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A recorded run of the finder."""
    return train_in(tmp_path_factory.mktemp("found"), *GARMENTS, *SEARCH)


def find(config: Config, folder: Path, **arguments: Any) -> float:
    """Find a learning rate as a run does, without recording the run."""
    config = isolated_config(config)
    trainer = instantiate.instantiate_trainer(config, folder)
    return find_lr(trainer, *instantiate_all(config), **(config["tune"]["find_lr"] | arguments))


def reference_curve() -> list[dict[str, float]]:
    """Learning rate and moving average of the loss (weight 0.02 for the last) at each step, in plain torch."""
    config = compose_resolved(*GARMENTS, *SEARCH)
    task, data = instantiate_all(config)
    low, high = config["tune"]["find_lr"]["min_lr"], config["tune"]["find_lr"]["max_lr"]
    optimizer = task.configure_optimizers()["optimizer"]
    rows: list[dict[str, float]] = []
    mean, epoch = 0.0, 0
    while len(rows) < STEPS:
        loader = data.train_dataloader()
        loader.batch_sampler.set_epoch(epoch)
        for X, y in loader:
            step = len(rows)
            if step == STEPS:
                break
            # As in Lightning: the lowest rate at the first step, then those of steps 2, 3, ... of STEPS.
            lr = low * (high / low) ** ((step + 1) / STEPS if step else 0.0)
            for group in optimizer.param_groups:
                group["lr"] = lr
            loss = task.loss(task.model(X), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean = 0.98 * mean + 0.02 * loss.item()
            rows.append({"step": step, "lr": lr, "loss": mean / (1 - 0.98 ** (step + 1))})
        epoch += 1
    return rows


def test_the_curve_equals_that_of_a_hand_written_loop(found: TrainResult) -> None:
    rows, expected = read_csv(found.directory / "lr_find.csv"), reference_curve()
    assert len(rows) == STEPS
    for column in ("step", "lr", "loss"):
        assert [row[column] for row in rows] == pytest.approx([row[column] for row in expected], rel=1e-5)
    lowest = min(expected[10:], key=lambda row: row["loss"])
    assert found.result["suggested_lr"] == pytest.approx(lowest["lr"] / 10, rel=5e-3)
    recorded = json.loads((found.directory / "result.json").read_text())
    assert (recorded["status"], recorded["suggested_lr"]) == ("finished", found.result["suggested_lr"])
    assert imread(found.directory / "lr_find.png").std() > 0


def test_it_stops_early_when_the_loss_diverges(tmp_path: Path) -> None:
    config = compose_resolved(*GARMENTS, *SEARCH)
    find(config, tmp_path, max_lr=100000.0, early_stop_threshold=4.0)
    rows = read_csv(tmp_path / "lr_find.csv")
    assert len(rows) < STEPS
    assert rows[-1]["loss"] > 2 * rows[0]["loss"]


@pytest.mark.slow
def test_the_suggested_rate_trains_well(tmp_path: Path) -> None:
    """A rate of 1 diverges, and one of 0.001 makes no progress in three epochs."""
    config = compose_resolved("callbacks=lean", "model=linear_regression", "trainer=cpu")
    lr = find(config, tmp_path)
    losses = {}
    for rate in (0.001, lr):
        config["optimizer"]["lr"] = rate
        trainer = instantiate.instantiate_trainer(config, tmp_path / f"{rate}")
        trainer.fit(*instantiate_all(config))
        losses[rate] = trainer.callback_metrics["val/loss"]
    assert losses[lr] < losses[0.001] / 100


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (
            [3.0, 2.0, 4.0],
            "3 steps are too few; raise tune.find_lr.num_training or lower tune.find_lr.min_lr",
        ),
        ([math.nan] * 30, "30 steps are too few"),
        (
            [1.0 + i for i in range(30)],
            "the loss does not decrease at any learning rate above 1.1; lower tune.find_lr.min_lr",
        ),
        ([30.0 - i for i in range(30)], "the loss still decreases at lr=3; raise tune.find_lr.max_lr"),
    ],
)
def test_a_curve_without_minimum_is_a_one_line_error(losses: list[float], message: str) -> None:
    rates = [(i + 1) / 10 for i in range(len(losses))]
    with pytest.raises(RunError) as error:
        suggest_lr(rates, losses)
    assert str(error.value).startswith("find_lr=true: ")
    assert message in str(error.value)


def test_the_first_points_and_nonfinite_losses_are_ignored() -> None:
    losses = [0.0] * 10 + [5.0, 4.0, 3.0, math.nan, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, math.inf, math.nan]
    assert suggest_lr([1.0 + i for i in range(len(losses))], losses) == 1.5


def test_nonfinite_losses_can_be_plotted(tmp_path: Path) -> None:
    plot_lr_curve([0.1, 0.2, 0.3], [1.0, math.inf, math.nan], 0.1, tmp_path / "lr_find.png")
    assert imread(tmp_path / "lr_find.png").std() > 0


def test_the_weights_are_restored(found: TrainResult) -> None:
    fresh, _ = instantiate_all(compose_resolved(*GARMENTS, *SEARCH))
    for name, weight in fresh.state_dict().items():
        assert torch.equal(weight, found.task.state_dict()[name])
