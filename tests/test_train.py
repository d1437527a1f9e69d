"""The entry, as people use it: what a run leaves, and that it can be trusted."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[1]
FEW = ("data=garments", "data.num_train=1024", "data.num_test=256", "data.val_size=256", "trainer=cpu")


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)[
        "state_dict"
    ]
    return state


def assert_same_weights(one: Path, other: Path) -> None:
    torch.testing.assert_close(weights(one), weights(other), rtol=0, atol=0)


def without_clock(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if name != "train/samples_per_second"}


def test_a_run_leaves_its_whole_story(train: Callable[..., Any]) -> None:
    run, result = train("model=mlp", "trainer.max_epochs=2", *FEW)
    left = {re.sub(r"^(events\.out\.tfevents)\..*", r"\1", path.name) for path in run.iterdir()} - {".hydra"}
    assert left == {
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


def test_tensorboard_shows_losses_accuracies_and_the_learning_rate(train: Callable[..., Any]) -> None:
    run, _ = train("model=mlp", "trainer.max_epochs=2", "scheduler=step", "scheduler.step_size=1", *FEW)
    events = EventAccumulator(str(run)).Reload()
    assert {"train/loss", "train/acc", "val/loss", "val/acc", "lr", "test/acc"} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("val/acc")) == 2
    assert [point.value for point in events.Scalars("lr")] == pytest.approx([0.1, 0.01])


def test_the_same_command_twice_gives_the_same_numbers_bit_for_bit(train: Callable[..., Any]) -> None:
    command = ("model=mlp", "model.dropout=0.5", "trainer.max_epochs=2", *FEW)
    one, other = train(*command), train(*command)
    assert without_clock(one.result["metrics"]["final"]) == without_clock(other.result["metrics"]["final"])
    assert_same_weights(one.directory, other.directory)


def test_another_seed_gives_other_numbers(train: Callable[..., Any]) -> None:
    command = ("model=mlp", "trainer.max_epochs=1", *FEW)
    assert train(*command, "seed=0").result["score"] != train(*command, "seed=1").result["score"]


def test_a_resumed_run_ends_like_one_that_was_never_stopped(train: Callable[..., Any]) -> None:
    straight = train("model=mlp", "optimizer=adamw", "trainer.max_epochs=4", *FEW)
    stopped = train("model=mlp", "optimizer=adamw", "trainer.max_epochs=2", *FEW)
    resumed = train(f"resume={stopped.directory}", "trainer.max_epochs=4", directory=stopped.directory)
    assert resumed.result["epochs"] == 4
    assert without_clock(resumed.result["metrics"]["final"]) == without_clock(straight.result["metrics"]["final"])
    assert_same_weights(resumed.directory, straight.directory)
    assert len((stopped.directory / "command.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("experiment", "bound"),
    [("linear_regression_scratch", 0.3), ("linear_regression", 0.3), ("linear_regression_zero_init", 0.1)],
)
def test_linear_regression_finds_the_true_coefficients(
    experiment: str, bound: float, train: Callable[..., Any]
) -> None:
    _, result = train(f"experiment={experiment}", "trainer=cpu")
    final = result["metrics"]["final"]
    assert final["error/w"] < bound
    assert final["error/b"] < bound
    assert final["error/w_closed_form"] < 0.01
    assert "test/loss" not in result["metrics"]["best"]


def test_weight_decay_from_scratch_is_that_of_the_optimizer(train: Callable[..., Any]) -> None:
    zero = ("model.sigma=0", "trainer=cpu")
    # The concise loss has twice the gradient of ours: half the learning rate and twice lambda make the same steps.
    scratch = train("experiment=weight_decay_scratch", *zero)
    concise = train("experiment=weight_decay", "optimizer.lr=0.005", "optimizer.weight_decay=6", *zero)
    one, other = weights(scratch.directory), weights(concise.directory)
    torch.testing.assert_close(one["model.w"].T, other["model.net.weight"], rtol=0, atol=1e-6)
    torch.testing.assert_close(one["model.b"], other["model.net.bias"], rtol=0, atol=1e-6)
    plain = train("experiment=weight_decay", "optimizer.weight_decay=0", *zero)
    assert other["model.net.weight"].norm() < 0.9 * weights(plain.directory)["model.net.weight"].norm()


def test_early_stopping_stops(train: Callable[..., Any]) -> None:
    stop = (
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=0",
        "callbacks.early_stopping.min_delta=0.9",
    )
    assert train("model=mlp", *stop, *FEW).result["epochs"] == 2


def test_gradient_clipping_shortens_the_steps(train: Callable[..., Any]) -> None:
    command = ("model=mlp", "trainer.max_epochs=1", "optimizer.lr=1e-6", *FEW)
    start = weights(train(*command).directory)
    free = weights(train(*command, "optimizer.lr=1").directory)
    clipped = weights(train(*command, "optimizer.lr=1", "trainer.gradient_clip_val=0.01").directory)
    moved, moved_less = (sum(float((end[k] - start[k]).norm()) for k in start) for end in (free, clipped))
    assert moved_less < 0.1 * moved


def test_debug_overfit_drives_the_training_loss_down(train: Callable[..., Any]) -> None:
    _, result = train(
        "model=mlp", "debug=overfit", "data=garments", "data.num_train=512", "data.val_size=128", "trainer=cpu"
    )
    assert result["metrics"]["final"]["train/loss"] < 0.05


def test_debug_profile_leaves_a_profile(train: Callable[..., Any]) -> None:
    run, _ = train("model=mlp", "debug=profile", *FEW)
    assert "run_training_batch" in (run / "fit-profile.txt").read_text()


def test_precision_and_compile_are_settings(train: Callable[..., Any]) -> None:
    few = ("model=softmax_regression", "trainer.max_epochs=1", *FEW)
    full = train(*few).result["score"]
    assert train(*few, "trainer.precision=bf16-mixed").result["score"] == pytest.approx(full, abs=0.05)
    compiled = train(*few, "trainer.compile={backend: eager}")
    assert compiled.result["score"] == pytest.approx(full, abs=1e-6)
    assert set(weights(compiled.directory)) == {"model.net.1.weight", "model.net.1.bias"}


def test_two_processes_take_the_steps_of_one(train: Callable[..., Any], tmp_path: Path) -> None:
    command = ("model=mlp", "trainer.max_epochs=2", *FEW[:-1])
    run = tmp_path / "two"
    done = subprocess.run(
        [sys.executable, "train.py", *command, "trainer=ddp", f"hydra.run.dir={run}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    two = json.loads((run / "result.json").read_text())
    one = train(*command, "trainer=cpu")
    assert two["metrics"]["final"]["val/acc"] == pytest.approx(one.result["metrics"]["final"]["val/acc"], abs=0.01)
    torch.testing.assert_close(weights(run), weights(one.directory), rtol=0, atol=1e-5)
    assert done.stdout.count("best epoch") == 1


def test_two_processes_share_a_last_batch_of_one_example_also_in_sequence_and_go_on(tmp_path: Path) -> None:
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
    more = [f"resume={tmp_path}", "trainer.max_epochs=4"]
    subprocess.run([sys.executable, "train.py", *more], cwd=ROOT, check=True, timeout=120)
    assert json.loads((tmp_path / "result.json").read_text())["steps"] == 8


def test_a_sweep_over_models_gives_each_its_own_data(real_data: Path, tmp_path: Path) -> None:
    command = ["-m", "model=linear_regression,softmax_regression,mlp", "debug=fast", f"hydra.sweep.dir={tmp_path}"]
    environment = os.environ | {"DIVE_DATA": str(real_data)}
    subprocess.run([sys.executable, "train.py", *command], cwd=ROOT, env=environment, check=True, timeout=240)
    results = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*/result.json"))]
    assert [result["data"] for result in results] == ["synthetic_regression", "fashion_mnist", "fashion_mnist"]


def test_the_main_job_reaches_its_accuracy_on_the_real_data(
    real_data: Path, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIVE_DATA", str(real_data))
    _, result = train("model=mlp")
    assert result["data"] == "fashion_mnist"
    assert result["epochs"] == 10
    assert result["score"] >= 0.84
    assert abs(result["metrics"]["best"]["test/acc"] - result["score"]) < 0.03


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_so_and_can_go_on(
    signum: signal.Signals, code: int, tmp_path: Path, train: Callable[..., Any]
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "train.py", "model=mlp", "trainer.max_epochs=100000", *FEW, f"hydra.run.dir={run}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith("epoch  3"))
        process.send_signal(signum)
        rest = process.stdout.read()
    assert process.returncode == code
    assert f"to go on: python train.py resume={run}" in rest
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    trained = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] + 1
    resumed = train(f"resume={run}", f"trainer.max_epochs={trained + 1}", directory=run)
    assert resumed.result["epochs"] == trained + 1
