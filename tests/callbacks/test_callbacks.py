"""The observers: what they keep, stop, measure and say in short runs."""

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
from dive.errors import RunError
from dive.loggers import MetricsHistoryLogger
from dive.models import LinearRegression, LinearRegressionScratch
from dive.tasks.task import RegressionTask
from dive.training.trainer import Trainer

LINEAR = ("model=linear_regression", "data.num_train=100", "data.num_val=50")


class Scripted(RegressionTask):
    """A regression whose validation metric is given epoch by epoch, and whose weight counts the epochs."""

    def __init__(self, metric: str, values: Sequence[float]) -> None:
        super().__init__(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.01))
        self.metric = metric
        self.values = values

    def on_validation_epoch_end(self) -> None:
        """Log the script's line of this epoch."""
        nn.init.constant_(self.model.net.weight, float(self.current_epoch))
        self.log(self.metric, float(self.values[self.current_epoch]))


def data(**settings: Any) -> SyntheticRegression:
    """Neither split can be divided into batches of four."""
    return SyntheticRegression(
        **{"w": [2.0, -3.4], "b": 4.2, "noise": 0.1, "num_train": 10, "num_val": 7, "batch_size": 4, **settings}
    )


def regression(model: nn.Module | None = None) -> RegressionTask:
    return RegressionTask(model or LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))


def trainer(folder: Path, *callbacks: pl.Callback, epochs: int = 1, **settings: Any) -> Trainer:
    """Lightning with these observers and no others."""
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
    """Both checkpoints, in the order of conf/callbacks/default.yaml."""
    return [BestCheckpoint(metric), LastCheckpoint(), ExactResume()]


def load(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def leaves(node: Any) -> list[Any]:
    """What lies in plain containers, however deep."""
    if isinstance(node, Mapping):
        return [leaf for key, value in node.items() for leaf in [key, *leaves(value)]]
    if isinstance(node, list | tuple | set):
        return [leaf for value in node for leaf in leaves(value)]
    return [node]


SCRIPT = [0.2, 0.5, 0.1, 0.3]  # the lowest in the third epoch, the highest in the second


@pytest.mark.parametrize(("metric", "best"), [("val/loss", 2), ("val/acc", 1)])
def test_the_best_epoch_is_kept(tmp_path: Path, metric: str, best: int) -> None:
    checkpoint = BestCheckpoint(metric)
    trainer(tmp_path, checkpoint, epochs=4).fit(Scripted(metric, SCRIPT), data())
    assert Path(checkpoint.best_model_path) == tmp_path / "checkpoints" / "best.ckpt"
    kept = load(tmp_path / "checkpoints" / "best.ckpt")
    assert kept["epoch"] == best
    assert torch.equal(kept["state_dict"]["model.net.weight"], torch.full((1, 2), float(best)))


@pytest.mark.parametrize("metric", ["val/loss", "val/acc"])
def test_the_last_epoch_is_kept_whether_it_was_better_or_not(tmp_path: Path, metric: str) -> None:
    trainer(tmp_path, *best_and_last(metric), epochs=4).fit(Scripted(metric, SCRIPT), data())
    kept = load(tmp_path / "checkpoints" / "last.ckpt")
    assert kept["epoch"] == 3
    assert torch.equal(kept["state_dict"]["model.net.weight"], torch.full((1, 2), 3.0))


def test_of_all_epochs_two_checkpoints_remain(tmp_path: Path) -> None:
    trainer(tmp_path, *best_and_last("val/loss"), epochs=4).fit(Scripted("val/loss", SCRIPT), data())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_of_epochs_as_good_as_each_other_the_first_is_kept(tmp_path: Path) -> None:
    trainer(tmp_path, *best_and_last("val/loss"), epochs=3).fit(Scripted("val/loss", [0.2, 0.1, 0.1]), data())
    assert load(tmp_path / "checkpoints" / "best.ckpt")["epoch"] == 1


def test_another_fit_in_the_same_folder_replaces_its_checkpoints(tmp_path: Path) -> None:
    for values in ([0.3, 0.2], [0.5, 0.6]):
        trainer(tmp_path, *best_and_last("val/loss"), epochs=2).fit(Scripted("val/loss", values), data())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert load(tmp_path / "checkpoints" / "best.ckpt")["epoch"] == 0


@pytest.mark.parametrize(("values", "best"), [([0.2, 0.1, 0.3], 1), ([0.2, 0.1, 0.3, 0.05], 3)])
def test_a_resumed_run_goes_on_with_its_checkpoints_and_remembers_the_best(
    tmp_path: Path, values: list[float], best: int
) -> None:
    folder = tmp_path / "checkpoints"
    trainer(tmp_path, *best_and_last("val/loss"), epochs=2).fit(Scripted("val/loss", values), data())
    trainer(tmp_path, *best_and_last("val/loss"), epochs=len(values)).fit(
        Scripted("val/loss", values), data(), ckpt_path=folder / "last.ckpt", weights_only=True
    )
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert load(folder / "best.ckpt")["epoch"] == best


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_checkpoints_are_plain_data_with_the_weights_of_the_run(
    fit: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    fitted = fit(
        "model=linear_regression_scratch",
        "data.num_train=60",
        "data.num_val=20",
        "callbacks=early_stopping",
        "scheduler=step",
    )
    kept = load(tmp_path / "checkpoints" / name)
    allowed = (str, int, float, bool, type(None), Tensor)
    assert {type(leaf) for leaf in leaves(kept) if not isinstance(leaf, allowed)} == set()
    assert kept["optimizer_states"]
    assert kept["lr_schedulers"]
    assert kept["epoch"] == 2  # the loss falls from epoch to epoch: the last is the best
    twin = LinearRegressionScratch(2)
    twin.load_state_dict({key.removeprefix("model."): value for key, value in kept["state_dict"].items()})
    assert torch.equal(twin.w, fitted.task.model.w)
    assert torch.equal(twin.b, fitted.task.model.b)


def test_a_resumed_run_finds_its_best_checkpoint_where_its_directory_is_now(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    trainer(before, *best_and_last("val/loss"), epochs=2).fit(Scripted("val/loss", [0.2, 0.1]), data())
    before.rename(now)
    best, *others = best_and_last("val/loss")
    trainer(now, best, *others, epochs=4).fit(
        Scripted("val/loss", [0.2, 0.1, 0.15, 0.05]), data(), ckpt_path=now / "checkpoints" / "last.ckpt"
    )
    assert isinstance(best, BestCheckpoint)
    assert best.best_model_path == str(now / "checkpoints" / "best.ckpt")
    assert list(best.best_k_models) == [best.best_model_path]
    assert load(now / "checkpoints" / "best.ckpt")["epoch"] == 3
    assert sorted(path.name for path in (now / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert not before.exists()


def test_a_run_that_had_no_best_epoch_yet_goes_on_without_one(tmp_path: Path) -> None:
    best = BestCheckpoint("val/loss")
    best.dirpath = str(tmp_path)
    fresh = BestCheckpoint("val/loss").state_dict()
    best.load_state_dict(fresh)
    assert (best.best_model_path, best.last_model_path, best.best_k_models) == ("", "", {})


def test_a_metric_of_unknown_direction_cannot_name_the_best_epoch() -> None:
    with pytest.raises(ValueError, match="'val/luck'"):
        BestCheckpoint("val/luck")
    with pytest.raises(ValueError, match="'val/luck'"):
        EarlyStopping("val/luck", patience=1)


@pytest.mark.parametrize(
    ("metric", "values"), [("val/loss", [3, 2, 2.5, 2.4, 0, 0]), ("val/acc", [0.1, 0.5, 0.4, 0.45, 0.9, 0.9])]
)
def test_training_stops_when_nothing_better_came_for_some_epochs(
    tmp_path: Path, metric: str, values: list[float]
) -> None:
    stopped = trainer(tmp_path, EarlyStopping(metric, patience=2), epochs=6)
    stopped.fit(Scripted(metric, values), data())
    assert stopped.current_epoch == 4  # best in the second, then two that were not better


def test_training_goes_on_while_it_gets_better(tmp_path: Path) -> None:
    goes_on = trainer(tmp_path, EarlyStopping("val/loss", patience=1), epochs=4)
    goes_on.fit(Scripted("val/loss", [4, 3, 2, 1]), data())
    assert goes_on.current_epoch == 4


@pytest.mark.parametrize(("epochs", "more"), [(6, 0), (3, 1)])
def test_training_that_had_stopped_stays_stopped_and_one_that_had_not_goes_on(
    tmp_path: Path, epochs: int, more: int
) -> None:
    values = [3, 2, 2.5, 2.4, 0, 0]
    first = trainer(
        tmp_path, EarlyStopping("val/loss", patience=2), LastCheckpoint(), ExactResume(), epochs=epochs
    )
    first.fit(Scripted("val/loss", values), data())
    again = trainer(tmp_path, EarlyStopping("val/loss", patience=2), LastCheckpoint(), ExactResume(), epochs=6)
    again.fit(Scripted("val/loss", values), data(), ckpt_path=tmp_path / "checkpoints" / "last.ckpt")
    assert first.current_epoch == 4 - more
    assert again.current_epoch == 4
    assert again.global_step == 4 * 3


def test_a_little_better_than_min_delta_is_not_better(tmp_path: Path) -> None:
    stopped = trainer(tmp_path, EarlyStopping("val/loss", patience=1, min_delta=0.5), epochs=4)
    stopped.fit(Scripted("val/loss", [4, 3.9, 3.8, 3.7]), data())
    assert stopped.current_epoch == 2


def test_a_run_that_diverges_at_once_fails_and_leaves_no_checkpoint(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"epoch 1; a lower optimizer\.lr may help"):
        fit(*LINEAR, "optimizer.lr=1e30")
    assert list(tmp_path.rglob("*.ckpt")) == []


def test_a_run_that_diverges_later_leaves_only_checkpoints_with_finite_weights(
    fit: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"optimizer\.lr"):
        fit(*LINEAR, "optimizer.lr=10", "trainer.max_epochs=20", "callbacks.last.min_interval_s=0")
    kept = [load(path) for path in sorted(tmp_path.rglob("*.ckpt"))]
    assert len(kept) == 2
    assert all(w.isfinite().all() for checkpoint in kept for w in checkpoint["state_dict"].values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_metric_that_is_no_number_fails_the_run_and_is_named(tmp_path: Path, value: float) -> None:
    guarded = trainer(tmp_path, TerminateOnNonFinite(), *best_and_last("val/loss"), epochs=3)
    with pytest.raises(RunError, match=f"val/loss is {value} in epoch 2"):
        guarded.fit(Scripted("val/loss", [1.0, value, 1.0]), data())
    assert load(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 0


def test_a_training_loss_that_is_no_number_fails_the_run(tmp_path: Path) -> None:
    task = regression()
    nn.init.constant_(task.model.net.bias, math.inf)
    with pytest.raises(RunError, match="train/loss is not finite in epoch 1"):
        trainer(tmp_path, TerminateOnNonFinite(), limit_val_batches=0).fit(task, data())


class SpoilBias(pl.Callback):
    """Leaves the loss of the epoch finite, and the weights not."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """As a last step might do."""
        nn.init.constant_(pl_module.model.net.bias, math.inf)


def test_a_weight_that_is_no_number_fails_the_run_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"model\.net\.bias is not finite in epoch 1"):
        trainer(tmp_path, SpoilBias(), TerminateOnNonFinite(), limit_val_batches=0).fit(regression(), data())


def test_the_guard_lets_a_sound_run_pass(tmp_path: Path) -> None:
    sound = trainer(tmp_path, TerminateOnNonFinite(), epochs=2)
    sound.fit(regression(), data())
    assert sound.current_epoch == 2


@pytest.mark.parametrize("way", [LinearRegression, LinearRegressionScratch])
def test_parameter_errors_are_the_largest_differences_from_the_truth(tmp_path: Path, way: type[nn.Module]) -> None:
    history, examples = MetricsHistoryLogger(tmp_path), data(w=[2.0, -3.4, 1.0], num_train=30, noise=0.5)
    torch.manual_seed(0)
    model = way(3)
    trainer(tmp_path, ParameterError(), epochs=2, logger=history).fit(regression(model), examples)

    truth = np.array([2.0, -3.4, 1.0])
    X, y = (part.double().numpy() for part in (examples.splits.train.inputs, examples.splits.train.targets))
    closed = np.linalg.lstsq(np.column_stack([X, np.ones(30)]), y[:, 0], rcond=None)[0]
    w, b = (part.flatten().double().numpy() for part in model.coefficients())
    assert {name: value for name, value in history.final().items() if name.startswith("error/")} == {
        "error/w": pytest.approx(np.abs(w - truth).max(), abs=1e-5),
        "error/b": pytest.approx(abs(b[0] - 4.2), abs=1e-5),
        "error/w_closed_form": pytest.approx(np.abs(closed[:3] - truth).max(), abs=1e-5),
        "error/b_closed_form": pytest.approx(abs(closed[3] - 4.2), abs=1e-5),
    }
    assert history.final()["error/w"] > 0.1


def test_parameter_errors_are_not_told_of_a_model_without_coefficients(tmp_path: Path) -> None:
    history = MetricsHistoryLogger(tmp_path)
    task = regression(nn.Linear(2, 1))
    trainer(tmp_path, ParameterError(), logger=history).fit(task, data())
    assert "val/loss" in history.final()
    assert not [name for name in history.final() if name.startswith("error/")]


def test_the_largest_error_is_that_of_the_furthest_value() -> None:
    assert largest_error(torch.tensor([[1.0], [-3.0]]), torch.tensor([[1.5], [-1.0]])) == 2.0


def test_errors_of_shapes_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        largest_error(torch.zeros(2, 1), torch.zeros(2))


def test_the_learning_rate_is_that_of_the_epoch_s_steps(tmp_path: Path) -> None:
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


def test_the_learning_rate_of_an_epoch_under_way_is_kept_though_its_scheduler_has_stepped() -> None:
    first, second, logged = LearningRateMonitor(), LearningRateMonitor(), []
    fit: Any = SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[{"lr": 0.03}])])
    task: Any = SimpleNamespace(noted={})
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


class Timed(RegressionTask):
    """A training batch takes a second, a validation batch a hundred."""

    now = 0.0

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Let a second pass."""
        self.now += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Let a hundred pass."""
        self.now += 100
        super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("validate", [True, False])
def test_throughput_counts_each_training_example_and_no_time_of_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validate: bool
) -> None:
    throughput, history = ThroughputMonitor(), MetricsHistoryLogger(tmp_path)
    task = Timed(LinearRegression(2), nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))
    monkeypatch.setattr("dive.callbacks.throughput_monitor.time", SimpleNamespace(perf_counter=lambda: task.now))
    trainer(tmp_path, throughput, epochs=3, logger=history, limit_val_batches=1.0 if validate else 0).fit(
        task, data()
    )
    assert throughput.samples == 3 * 10
    assert throughput.seconds == 3 * 3  # ten examples in batches of four
    rates = [row["train/samples_per_second"] for row in history.rows.values()]
    assert rates == [pytest.approx(10 / 3)] * 3
    assert task.now == 9 + (300 if validate else 0)


def test_throughput_counted_in_the_middle_of_an_epoch_is_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("dive.callbacks.throughput_monitor.time", SimpleNamespace(perf_counter=lambda: now))
    fit: Any = SimpleNamespace(world_size=1)
    task = regression()
    first, second = ThroughputMonitor(), ThroughputMonitor()
    first.on_train_epoch_start(fit, task)
    assert first.state_dict() == {"seconds": 0.0, "samples": 0}
    now = 2.0
    task.means["train"].update(torch.tensor(1.0), torch.zeros(8, 1), torch.zeros(8, 1))
    kept = first.state_dict()
    assert kept == {"seconds": 2.0, "samples": 8}
    assert first.state_dict() == kept  # asking changes nothing

    now = 100.0  # of another process, whose task has got back the means of the epoch so far
    second.load_state_dict(kept)
    second.on_train_epoch_start(fit, task)
    now = 101.0
    task.means["train"].update(torch.tensor(1.0), torch.zeros(2, 1), torch.zeros(2, 1))
    second.on_train_epoch_end(fit, task)
    assert second.state_dict() == {"seconds": 3.0, "samples": 10}
    assert task.extra_metrics == {"train/samples_per_second": 2.0}  # two in a second: of this process alone


def test_an_epoch_without_a_step_left_has_no_throughput() -> None:
    fit: Any = SimpleNamespace(world_size=1)
    task = regression()
    throughput = ThroughputMonitor()
    throughput.on_train_epoch_start(fit, task)
    throughput.on_train_epoch_end(fit, task)
    assert throughput.state_dict()["samples"] == 0
    assert task.extra_metrics == {}


def shown(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    out_watched: bool,
    err_watched: bool,
) -> tuple[str, str]:
    """What a short fit writes to stdout and stderr, each of which is a terminal or not."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: out_watched)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: err_watched)
    trainer(folder, ProgressBar(refresh_rate=1), epochs=2).fit(regression(), data())
    return capsys.readouterr()


def test_no_progress_is_shown_where_nobody_watches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = shown(tmp_path, monkeypatch, capsys, out_watched=False, err_watched=False)
    assert out == ""
    assert "Epoch" not in err
    assert "it/s" not in err


def test_output_sent_to_a_file_has_no_progress_in_it_though_errors_go_to_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = shown(tmp_path, monkeypatch, capsys, out_watched=False, err_watched=True)
    assert out == ""


def test_progress_is_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = shown(tmp_path, monkeypatch, capsys, out_watched=True, err_watched=True)
    assert "Epoch 1" in out + err
