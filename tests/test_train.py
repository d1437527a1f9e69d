"""train.py end to end: run directory contents, reproducibility, resuming."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.short_runs import configure, fit_config, instantiate_all, train_in

import dive
from dive.training.fit import TrainResult

ROOT = Path(__file__).parents[1]
FEW = ("data=garments", "data.num_train=1024", "data.num_test=256", "data.val_size=256", "trainer=cpu")
SOFTMAX = ("callbacks=lean", "model=softmax_regression", "trainer.max_epochs=1", *FEW)
IMAGES = ("model_graph", "histograms", "sample_predictions", "top_losses", "confusion_matrix", "pr_curves")
COMMAND = [
    *("callbacks=lean", "model=mlp", "model.dropout=0.5", "optimizer=adamw", "optimizer.lr=0.01"),
    *("scheduler=step", "scheduler.step_size=1", "trainer.max_epochs=2", *FEW),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A finished run of COMMAND."""
    return train_in(tmp_path_factory.mktemp("trained"), *COMMAND)


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def assert_same_weights(one: Path, other: Path) -> None:
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=0)


def without_throughput(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "train/samples_per_second"}


def run_train_py(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    """Run train.py in this process."""
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


def test_run_directory_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run_train_py(monkeypatch, "model=mlp", "trainer.max_epochs=2", *FEW, f"hydra.run.dir={run}")
    result = json.loads((run / "result.json").read_text())
    files = {re.sub(r"^(events\.out\.tfevents)\..*", r"\1", path.name) for path in run.iterdir()} - {".hydra"}
    assert files == {
        ".lock", "checkpoints", "code.diff", "command.txt", "config.yaml", "curves.png", "environment.json",
        "events.out.tfevents", "metrics.csv", "result.json", "train.log",
    }  # fmt: skip
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert result["status"] == "finished"
    assert result["data"] == "garments"
    assert (result["epochs"], result["steps"]) == (2, 6)
    assert result["score"] == result["metrics"]["best"]["val/acc"]
    assert {"test/acc", "test/loss"} <= result["metrics"]["best"].keys()
    assert {"test/acc", "test/loss"}.isdisjoint(result["metrics"]["final"])
    assert result["samples_per_second"] > 0
    assert result["seconds"] > result["train_seconds"] > 0
    assert result["peak_memory_mb"]["cpu"] > 100
    assert "epoch  2" in (run / "train.log").read_text()


def test_tensorboard_contains_losses_accuracies_and_learning_rate(trained: TrainResult) -> None:
    events = EventAccumulator(str(trained.directory)).Reload()
    assert {"train/loss", "train/acc", "val/loss", "val/acc", "lr", "test/acc"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("val/acc")) == 2
    assert [point.value for point in events.Scalars("lr")] == pytest.approx([0.01, 0.001])


def test_same_command_gives_bit_identical_results(
    trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = dive.train(COMMAND)
    assert without_throughput(trained.final) == without_throughput(other.final)
    assert_same_weights(trained.directory, other.directory)


def test_seed_changes_the_results(trained: TrainResult, train: Callable[..., Any]) -> None:
    other = train(*COMMAND, "seed=1")
    assert trained.result["score"] != other.result["score"]


def test_resumed_run_equals_an_uninterrupted_one(
    trained: TrainResult, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = train(*COMMAND, "trainer.max_epochs=1")
    run_train_py(monkeypatch, f"resume={stopped.directory}", "trainer.max_epochs=2")
    resumed = json.loads((stopped.directory / "result.json").read_text())
    assert resumed["epochs"] == 2
    assert without_throughput(resumed["metrics"]["final"]) == without_throughput(trained.final)
    assert_same_weights(stopped.directory, trained.directory)
    assert len((stopped.directory / "command.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("experiment", "bound"),
    [("linear_regression_scratch", 0.3), ("linear_regression", 0.3), ("linear_regression_zero_init", 0.1)],
)
def test_linear_regression_recovers_the_true_coefficients(
    experiment: str, bound: float, train: Callable[..., Any]
) -> None:
    _, result = train(f"experiment={experiment}", "trainer=cpu")
    final = result["metrics"]["final"]
    assert final["error/w"] < bound
    assert final["error/b"] < bound
    assert final["error/w_closed_form"] < 0.01
    assert "test/loss" not in result["metrics"]["best"]


def test_weight_decay_from_scratch_equals_the_optimizer_s(tmp_path: Path) -> None:
    def fitted(experiment: str, *changes: str) -> dict[str, torch.Tensor]:
        overrides = (f"experiment={experiment}", "callbacks=lean", "model.sigma=0", "trainer=cpu")
        return fit_config(configure(overrides, *changes), tmp_path).task.state_dict()

    scratch = fitted("weight_decay_scratch")
    # The built-in loss has twice the gradient: half the learning rate and twice lambda give the same steps.
    concise = fitted("weight_decay", "optimizer.lr=0.005", "optimizer.weight_decay=6")
    torch.testing.assert_close(scratch["model.w"].T, concise["model.net.weight"], rtol=0, atol=1e-6)
    torch.testing.assert_close(scratch["model.b"], concise["model.net.bias"], rtol=0, atol=1e-6)
    plain = fitted("weight_decay", "optimizer.weight_decay=0")
    assert concise["model.net.weight"].norm() < 0.9 * plain["model.net.weight"].norm()


def test_early_stopping_stops_training(train: Callable[..., Any]) -> None:
    stop = (
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=0",
        "callbacks.early_stopping.min_delta=0.9",
        *(f"callbacks.{name}=null" for name in IMAGES),
    )
    assert train("model=mlp", *stop, *FEW).result["epochs"] == 2


def test_gradient_clipping_limits_the_steps(tmp_path: Path) -> None:
    def end(*changes: str) -> dict[str, torch.Tensor]:
        return fit_config(configure(SOFTMAX, *changes), tmp_path).task.state_dict()

    start = instantiate_all(configure(SOFTMAX))[0].state_dict()
    free, clipped = end("optimizer.lr=1"), end("optimizer.lr=1", "trainer.gradient_clip_val=0.01")
    free_distance, clipped_distance = (
        sum(float((weight - start[name]).norm()) for name, weight in after.items()) for after in (free, clipped)
    )
    assert 0 < clipped_distance < 0.1 * free_distance


@pytest.mark.slow
def test_debug_overfit_reduces_the_training_loss(train: Callable[..., Any]) -> None:
    _, result = train(
        "model=mlp", "debug=overfit", "data=garments", "data.num_train=512", "data.val_size=128", "trainer=cpu"
    )
    assert result["metrics"]["final"]["train/loss"] < 0.05


def test_debug_profile_writes_a_profile(train: Callable[..., Any]) -> None:
    run, _ = train("model=mlp", "debug=profile", *FEW)
    assert "run_training_batch" in (run / "fit-profile.txt").read_text()


def test_precision_and_compile_are_options(tmp_path: Path) -> None:
    def accuracy(name: str, *changes: str) -> float:
        fitted = fit_config(configure(SOFTMAX, *changes), tmp_path / name)
        return float(fitted.trainer.callback_metrics["val/acc"])

    full = accuracy("full")
    assert accuracy("precision", "trainer.precision=bf16-mixed") == pytest.approx(full, abs=0.05)
    assert accuracy("compiled", "trainer.compile={backend: eager}") == pytest.approx(full, abs=1e-6)
    assert set(weights(tmp_path / "compiled")) == {"model.net.1.weight", "model.net.1.bias"}


@pytest.mark.slow
def test_ddp_with_two_processes_equals_one_process(train: Callable[..., Any], tmp_path: Path) -> None:
    command = ("model=mlp", "trainer.max_epochs=2", *FEW[:-1])
    run = tmp_path / "two"
    process = subprocess.run(
        [sys.executable, "train.py", *command, "trainer=ddp", f"hydra.run.dir={run}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    ddp = json.loads((run / "result.json").read_text())
    one = train(*command, "trainer=cpu")
    assert ddp["metrics"]["final"]["val/acc"] == pytest.approx(one.result["metrics"]["final"]["val/acc"], abs=0.01)
    torch.testing.assert_close(weights(run), weights(one.directory), rtol=0, atol=1e-5)
    assert process.stdout.count("best epoch") == 1


@pytest.mark.slow
def test_ddp_with_a_last_batch_of_one_example_trains_and_resumes(tmp_path: Path) -> None:
    command = (
        "model=linear_regression",
        "data.num_train=33",
        "data.num_val=33",
        "data.shuffle=false",
        "trainer=ddp",
    )
    subprocess.run(
        [sys.executable, "train.py", *command, f"hydra.run.dir={tmp_path}"], cwd=ROOT, check=True, timeout=120
    )
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 6
    resume = [f"resume={tmp_path}", "trainer.max_epochs=4"]
    subprocess.run([sys.executable, "train.py", *resume], cwd=ROOT, check=True, timeout=120)
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 8


@pytest.mark.slow
def test_each_model_of_a_sweep_uses_its_own_data(real_data: Path, tmp_path: Path) -> None:
    command = ["-m", "model=linear_regression,softmax_regression,mlp", "debug=fast", f"hydra.sweep.dir={tmp_path}"]
    environment = os.environ | {"DIVE_DATA": str(real_data)}
    subprocess.run([sys.executable, "train.py", *command], cwd=ROOT, env=environment, check=True, timeout=240)
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/result.json"))]
    assert [result["data"] for result in results] == ["synthetic_regression", "fashion_mnist", "fashion_mnist"]


@pytest.mark.slow
def test_default_training_reaches_its_accuracy_on_fashion_mnist(
    real_data: Path, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIVE_DATA", str(real_data))
    _, result = train("model=mlp")
    assert result["data"] == "fashion_mnist"
    assert result["epochs"] == 10
    assert result["score"] >= 0.84
    assert abs(result["metrics"]["best"]["test/acc"] - result["score"]) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_can_be_resumed(
    signum: signal.Signals, code: int, tmp_path: Path, train: Callable[..., Any]
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "train.py", "model=mlp", "trainer.max_epochs=100000", *FEW, f"hydra.run.dir={run}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch  3"))
        process.send_signal(signum)
        output = process.stdout.read()
    assert process.returncode == code
    assert f"to resume: python train.py resume={run}" in output
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    epochs = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    resumed = train(f"resume={run}", f"trainer.max_epochs={epochs + 1}", directory=run)
    assert resumed.result["epochs"] == epochs + 1
