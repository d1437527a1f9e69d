"""Callbacks in short runs: checkpoints, early stopping, NaN handling, logged metrics and the progress bar."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dive.callbacks import (
    BestCheckpoint,
    EarlyStopping,
    ExactResume,
    LastCheckpoint,
    LearningRateMonitor,
    ParameterError,
    ProgressBar,
    TerminateOnNonFinite,
    ThroughputMonitor,
)
from dive.callbacks.parameter_error import largest_error
from dive.data import SyntheticRegression
from dive.errors import ConfigError, RunError
from dive.loggers import MetricsHistoryLogger
from dive.models import LinearRegression, LinearRegressionScratch
from dive.runs.metrics_csv import final_metrics
from dive.tasks.task import RegressionTask
from dive.training.trainer import Trainer

LINEAR = ("model=linear_regression", "data.num_train=100", "data.num_val=50")


class ScriptedMetric(RegressionTask):
    """A regression with a given validation metric per epoch, and a weight equal to the epoch."""

    def __init__(self, metric: str, values: Sequence[float]) -> None:
        super().__init__(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.01))
        self.metric = metric
        self.values = values

    def on_validation_epoch_end(self) -> None:
        """Log the value of this epoch."""
        nn.init.constant_(self.model.net.weight, float(self.current_epoch))
        self.log(self.metric, float(self.values[self.current_epoch]))


def data(**settings: Any) -> SyntheticRegression:
    """Neither split size is divisible by the batch size."""
    return SyntheticRegression(
        **{"w": [2.0, -3.4], "b": 4.2, "noise": 0.1, "num_train": 10, "num_val": 7, "batch_size": 4, **settings}
    )


def regression(model: nn.Module | None = None) -> RegressionTask:
    return RegressionTask(model or LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))


def trainer(folder: Path, *callbacks: pl.Callback, epochs: int = 1, **settings: Any) -> Trainer:
    """A trainer with these callbacks only."""
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_checkpointing=any(isinstance(callback, BestCheckpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **{"logger": False, **settings},
    )


def best_and_last(metric: str) -> list[pl.Callback]:
    """Both checkpoint callbacks, in the order of conf/callbacks/default.yaml."""
    return [BestCheckpoint(metric), LastCheckpoint(), ExactResume()]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def leaves(node: Any) -> list[Any]:
    """All keys and values in nested containers."""
    if isinstance(node, Mapping):
        return [leaf for key, value in node.items() for leaf in [key, *leaves(value)]]
    if isinstance(node, list | tuple | set):
        return [leaf for value in node for leaf in leaves(value)]
    return [node]


VALUES = [0.2, 0.5, 0.1, 0.3]  # lowest in the third epoch, highest in the second


@pytest.mark.parametrize(("metric", "best"), [("val/loss", 2), ("val/acc", 1)])
def test_best_epoch_is_saved(tmp_path: Path, metric: str, best: int) -> None:
    checkpoint = BestCheckpoint(metric)
    trainer(tmp_path, checkpoint, epochs=4).fit(ScriptedMetric(metric, VALUES), data())
    assert Path(checkpoint.best_model_path) == tmp_path / "checkpoints" / "best.ckpt"
    checkpoint = load(tmp_path / "checkpoints" / "best.ckpt")
    assert checkpoint["epoch"] == best
    assert torch.equal(checkpoint["state_dict"]["model.net.weight"], torch.full((1, 2), float(best)))


@pytest.mark.parametrize("metric", ["val/loss", "val/acc"])
def test_last_epoch_is_saved_even_if_it_is_not_the_best(tmp_path: Path, metric: str) -> None:
    trainer(tmp_path, *best_and_last(metric), epochs=4).fit(ScriptedMetric(metric, VALUES), data())
    checkpoint = load(tmp_path / "checkpoints" / "last.ckpt")
    assert checkpoint["epoch"] == 3
    assert torch.equal(checkpoint["state_dict"]["model.net.weight"], torch.full((1, 2), 3.0))


def test_only_best_and_last_checkpoint_remain(tmp_path: Path) -> None:
    trainer(tmp_path, *best_and_last("val/loss"), epochs=4).fit(ScriptedMetric("val/loss", VALUES), data())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_first_of_equally_good_epochs_is_saved(tmp_path: Path) -> None:
    trainer(tmp_path, *best_and_last("val/loss"), epochs=3).fit(
        ScriptedMetric("val/loss", [0.2, 0.1, 0.1]), data()
    )
    assert load(tmp_path / "checkpoints" / "best.ckpt")["epoch"] == 1


def test_second_fit_in_the_same_directory_overwrites_checkpoints(tmp_path: Path) -> None:
    for values in ([0.3, 0.2], [0.5, 0.6]):
        trainer(tmp_path, *best_and_last("val/loss"), epochs=2).fit(ScriptedMetric("val/loss", values), data())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert load(tmp_path / "checkpoints" / "best.ckpt")["epoch"] == 0


@pytest.mark.parametrize(("values", "best"), [([0.2, 0.1, 0.3], 1), ([0.2, 0.1, 0.3, 0.05], 3)])
def test_resumed_run_keeps_the_best_checkpoint_unless_improved(
    tmp_path: Path, values: list[float], best: int
) -> None:
    folder = tmp_path / "checkpoints"
    trainer(tmp_path, *best_and_last("val/loss"), epochs=2).fit(ScriptedMetric("val/loss", values), data())
    trainer(tmp_path, *best_and_last("val/loss"), epochs=len(values)).fit(
        ScriptedMetric("val/loss", values), data(), ckpt_path=folder / "last.ckpt", weights_only=True
    )
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert load(folder / "best.ckpt")["epoch"] == best


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_checkpoints_are_plain_containers_with_the_weights_of_the_run(
    fit: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    fitted = fit(
        "model=linear_regression_scratch",
        "data.num_train=60",
        "data.num_val=20",
        "callbacks=early_stopping",
        "scheduler=step",
    )
    checkpoint = load(tmp_path / "checkpoints" / name)
    allowed = (str, int, float, bool, type(None), Tensor)
    assert {type(leaf) for leaf in leaves(checkpoint) if not isinstance(leaf, allowed)} == set()
    assert checkpoint["optimizer_states"]
    assert checkpoint["lr_schedulers"]
    assert checkpoint["epoch"] == 2  # the loss decreases: the last epoch is the best
    twin = LinearRegressionScratch(2)
    twin.load_state_dict({key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items()})
    assert torch.equal(twin.w, fitted.task.model.w)
    assert torch.equal(twin.b, fitted.task.model.b)


def test_resumed_run_finds_best_checkpoint_after_its_directory_was_moved(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    trainer(before, *best_and_last("val/loss"), epochs=2).fit(ScriptedMetric("val/loss", [0.2, 0.1]), data())
    before.rename(after)
    best, *others = best_and_last("val/loss")
    trainer(after, best, *others, epochs=4).fit(
        ScriptedMetric("val/loss", [0.2, 0.1, 0.15, 0.05]), data(), ckpt_path=after / "checkpoints" / "last.ckpt"
    )
    assert isinstance(best, BestCheckpoint)
    assert best.best_model_path == str(after / "checkpoints" / "best.ckpt")
    assert list(best.best_k_models) == [best.best_model_path]
    assert load(after / "checkpoints" / "best.ckpt")["epoch"] == 3
    assert sorted(path.name for path in (after / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert not before.exists()


def test_state_without_a_best_epoch_is_restored(tmp_path: Path) -> None:
    best = BestCheckpoint("val/loss")
    best.dirpath = str(tmp_path)
    best.load_state_dict(BestCheckpoint("val/loss").state_dict() | {"dirpath": best.dirpath})
    assert (best.best_model_path, best.last_model_path, best.best_k_models) == ("", "", {})


def test_metric_whose_mode_cannot_be_inferred_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"monitor=val/score: .*set mode=max or mode=min"):
        BestCheckpoint("val/score")
    with pytest.raises(ConfigError, match=r"monitor=val/score: .*set mode=max or mode=min"):
        EarlyStopping("val/score", patience=1)
    assert BestCheckpoint("val/score", mode="max").mode == EarlyStopping("val/score", 1, mode="max").mode == "max"


@pytest.mark.parametrize(
    ("metric", "values"), [("val/loss", [3, 2, 2.5, 2.4, 0, 0]), ("val/acc", [0.1, 0.5, 0.4, 0.45, 0.9, 0.9])]
)
def test_training_stops_without_improvement_for_patience_epochs(
    tmp_path: Path, metric: str, values: list[float]
) -> None:
    stopped = trainer(tmp_path, EarlyStopping(metric, patience=2), epochs=6)
    stopped.fit(ScriptedMetric(metric, values), data())
    assert stopped.current_epoch == 4  # best in the second, then two without improvement


def test_training_continues_while_the_metric_improves(tmp_path: Path) -> None:
    fitted = trainer(tmp_path, EarlyStopping("val/loss", patience=1), epochs=4)
    fitted.fit(ScriptedMetric("val/loss", [4, 3, 2, 1]), data())
    assert fitted.current_epoch == 4


@pytest.mark.parametrize(("epochs", "more"), [(6, 0), (3, 1)])
def test_resumed_run_stays_stopped_only_if_it_had_stopped_early(tmp_path: Path, epochs: int, more: int) -> None:
    values = [3, 2, 2.5, 2.4, 0, 0]
    first = trainer(
        tmp_path, EarlyStopping("val/loss", patience=2), LastCheckpoint(), ExactResume(), epochs=epochs
    )
    first.fit(ScriptedMetric("val/loss", values), data())
    again = trainer(tmp_path, EarlyStopping("val/loss", patience=2), LastCheckpoint(), ExactResume(), epochs=6)
    again.fit(ScriptedMetric("val/loss", values), data(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert first.current_epoch == 4 - more
    assert again.current_epoch == 4
    assert again.global_step == 4 * 3


def test_improvement_below_min_delta_does_not_count(tmp_path: Path) -> None:
    stopped = trainer(tmp_path, EarlyStopping("val/loss", patience=1, min_delta=0.5), epochs=4)
    stopped.fit(ScriptedMetric("val/loss", [4, 3.9, 3.8, 3.7]), data())
    assert stopped.current_epoch == 2


def test_run_diverging_in_the_first_epoch_fails_without_checkpoints(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"epoch 1; a lower optimizer\.lr may help"):
        fit(*LINEAR, "optimizer.lr=1e30")
    assert list(tmp_path.rglob("*.ckpt")) == []


def test_run_diverging_later_leaves_checkpoints_with_finite_weights_only(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"optimizer\.lr"):
        fit(*LINEAR, "optimizer.lr=10", "trainer.max_epochs=20", "callbacks.last.min_interval_s=0")
    checkpoints = [load(path) for path in sorted(tmp_path.rglob("*.ckpt"))]
    assert len(checkpoints) == 2
    assert all(w.isfinite().all() for checkpoint in checkpoints for w in checkpoint["state_dict"].values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_validation_metric_fails_the_run_and_is_named(tmp_path: Path, value: float) -> None:
    guarded = trainer(tmp_path, TerminateOnNonFinite(), *best_and_last("val/loss"), epochs=3)
    with pytest.raises(RunError, match=f"val/loss is {value} in epoch 2"):
        guarded.fit(ScriptedMetric("val/loss", [1.0, value, 1.0]), data())
    assert load(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 0


def test_non_finite_training_loss_fails_the_run(tmp_path: Path) -> None:
    task = regression()
    nn.init.constant_(task.model.net.bias, math.inf)
    with pytest.raises(RunError, match="train/loss is not finite in epoch 1"):
        trainer(tmp_path, TerminateOnNonFinite(), limit_val_batches=0).fit(task, data())


class InfiniteBias(pl.Callback):
    """Sets a weight to infinity while the loss of the epoch is finite."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As the last step of the epoch might."""
        nn.init.constant_(pl_module.model.net.bias, math.inf)


def test_non_finite_weight_fails_the_run_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"model\.net\.bias is not finite in epoch 1"):
        trainer(tmp_path, InfiniteBias(), TerminateOnNonFinite(), limit_val_batches=0).fit(regression(), data())


def test_finite_run_is_not_terminated(tmp_path: Path) -> None:
    fitted = trainer(tmp_path, TerminateOnNonFinite(), epochs=2)
    fitted.fit(regression(), data())
    assert fitted.current_epoch == 2


@pytest.mark.parametrize("kind", [LinearRegression, LinearRegressionScratch])
def test_parameter_errors_are_the_largest_differences_from_the_true_values(
    tmp_path: Path, kind: type[nn.Module]
) -> None:
    history, examples = MetricsHistoryLogger(tmp_path), data(w=[2.0, -3.4, 1.0], num_train=30, noise=0.5)
    torch.manual_seed(0)
    model = kind(3)
    trainer(tmp_path, ParameterError(), epochs=2, logger=history).fit(regression(model), examples)

    truth = np.array([2.0, -3.4, 1.0])
    X, y = (part.double().numpy() for part in (examples.splits.train.inputs, examples.splits.train.targets))
    closed = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), y[:, 0], rcond=None)[0]
    w, b = (part.flatten().double().numpy() for part in model.coefficients())
    assert {name: value for name, value in final_metrics(history.rows).items() if name.startswith("error/")} == {
        "error/w": pytest.approx(np.abs(w - truth).max(), abs=1e-5),
        "error/b": pytest.approx(abs(b[0] - 4.2), abs=1e-5),
        "error/w_closed_form": pytest.approx(np.abs(closed[:3] - truth).max(), abs=1e-5),
        "error/b_closed_form": pytest.approx(abs(closed[3] - 4.2), abs=1e-5),
    }
    assert final_metrics(history.rows)["error/w"] > 0.1


def test_parameter_errors_are_not_logged_for_models_without_coefficients(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    task = regression(nn.Linear(2, 1))
    trainer(tmp_path, ParameterError(), logger=history).fit(task, data())
    assert "val/loss" in final_metrics(history.rows)
    assert not [name for name in final_metrics(history.rows) if name.startswith("error/")]


def test_largest_error_is_the_largest_absolute_difference() -> None:
    assert largest_error(torch.tensor([[1.0], [-3.0]]), torch.tensor([[1.5], [-1.0]])) == 2.0


def test_largest_error_rejects_shapes_that_would_broadcast() -> None:
    with pytest.raises(ValueError, match="same shape"):
        largest_error(torch.zeros(2, 1), torch.zeros(2))


def test_learning_rate_is_that_of_the_steps_of_the_epoch(tmp_path: Path) -> None:
    history, task = MetricsHistoryLogger(tmp_path), regression()
    task.make_scheduler = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.1)
    trainer(tmp_path, LearningRateMonitor(), epochs=4, logger=history).fit(task, data())
    rates = {row["epoch"]: row["lr"] for row in history.rows.values()}
    assert rates == {
        0: pytest.approx(0.03),
        1: pytest.approx(0.03),
        2: pytest.approx(3e-3),
        3: pytest.approx(3e-3),
    }


def test_learning_rate_of_a_resumed_epoch_is_restored_after_the_scheduler_stepped() -> None:
    first, second, logged = LearningRateMonitor(), LearningRateMonitor(), []
    fit: Any = SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[{"lr": 0.03}])])
    task: Any = SimpleNamespace(extra_metrics={})
    first.on_train_epoch_start(fit, task)
    fit.optimizers[0].param_groups[0]["lr"] = 0.01
    second.setup(fit, task, "fit")
    second.load_state_dict(first.state_dict())
    second.on_train_epoch_start(fit, task)
    for _ in range(2):
        second.on_train_epoch_end(fit, task)
        logged.append(task.extra_metrics["lr"])
        second.on_train_epoch_start(fit, task)
    assert logged == [0.03, 0.01]


class FakeClockTask(RegressionTask):
    """A training batch takes a second, a validation batch a hundred, by a fake clock."""

    now = 0.0

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Advance the clock by a second."""
        self.now += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Advance the clock by a hundred seconds."""
        self.now += 100
        super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("validate", [True, False])
def test_throughput_counts_training_examples_and_excludes_validation_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validate: bool
) -> None:
    throughput, history = ThroughputMonitor(), MetricsHistoryLogger(tmp_path)
    task = FakeClockTask(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))
    monkeypatch.setattr("dive.callbacks.throughput_monitor.time", SimpleNamespace(perf_counter=lambda: task.now))
    trainer(tmp_path, throughput, epochs=3, logger=history, limit_val_batches=1.0 if validate else 0).fit(
        task, data()
    )
    assert throughput.train_samples == 3 * 10
    assert throughput.train_seconds == 3 * 3  # ten examples in batches of four
    rates = [row["train/samples_per_second"] for row in history.rows.values()]
    assert rates == [pytest.approx(10 / 3)] * 3
    assert task.now == 9 + (300 if validate else 0)


def test_throughput_continues_counting_in_a_resumed_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("dive.callbacks.throughput_monitor.time", SimpleNamespace(perf_counter=lambda: now))
    fit: Any = SimpleNamespace(world_size=1)
    task = regression()
    first, second = ThroughputMonitor(), ThroughputMonitor()
    first.on_train_epoch_start(fit, task)
    assert first.state_dict() == {"seconds": 0.0, "samples": 0}
    now = 2.0
    task.means["train"].update(torch.tensor(1.0), torch.zeros(8, 1), torch.zeros(8, 1))
    state = first.state_dict()
    assert state == {"seconds": 2.0, "samples": 8}
    assert first.state_dict() == state  # reading the state does not change it

    now = 100.0  # in another process, whose task has restored the means of the epoch so far
    second.load_state_dict(state)
    second.on_train_epoch_start(fit, task)
    now = 101.0
    task.means["train"].update(torch.tensor(1.0), torch.zeros(2, 1), torch.zeros(2, 1))
    second.on_train_epoch_end(fit, task)
    assert second.state_dict() == {"seconds": 3.0, "samples": 10}
    assert task.extra_metrics == {"train/samples_per_second": 2.0}  # two examples in a second: this process only


def test_resumed_epoch_without_remaining_steps_logs_no_throughput() -> None:
    fit: Any = SimpleNamespace(world_size=1)
    task = regression()
    throughput = ThroughputMonitor()
    throughput.on_train_epoch_start(fit, task)
    throughput.on_train_epoch_end(fit, task)
    assert throughput.state_dict()["samples"] == 0
    assert task.extra_metrics == {}


def fit_output(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    out_is_terminal: bool,
    err_is_terminal: bool,
) -> tuple[str, str]:
    """What a short fit writes to stdout and stderr."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: out_is_terminal)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: err_is_terminal)
    trainer(folder, ProgressBar(refresh_rate=1), epochs=2).fit(regression(), data())
    return capsys.readouterr()


def test_no_progress_bar_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = fit_output(tmp_path, monkeypatch, capsys, out_is_terminal=False, err_is_terminal=False)
    assert out == ""
    assert "Epoch" not in err
    assert "it/s" not in err


def test_no_progress_bar_if_only_stderr_is_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = fit_output(tmp_path, monkeypatch, capsys, out_is_terminal=False, err_is_terminal=True)
    assert out == ""


def test_progress_bar_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = fit_output(tmp_path, monkeypatch, capsys, out_is_terminal=True, err_is_terminal=True)
    assert "Epoch 1" in out + err
