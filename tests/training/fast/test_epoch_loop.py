"""Fast steps equal Lightning's bit for bit, and Lightning's own steps run where they are needed."""

import json
import os
import signal
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from dive.callbacks import ExactResume, LastCheckpoint, ProgressBar, TerminateOnNonFinite, ThroughputMonitor
from dive.config.compose import compose_resolved
from dive.data import SyntheticRegression
from dive.models import LinearRegression
from dive.runs import checkpoint_io
from dive.runs.run import Run
from dive.runs.signals import RunInterrupted, SignalHandlers
from dive.tasks.task import Batch, RegressionTask
from dive.training.fast.epoch_loop import FastTrainingEpochLoop
from dive.training.fit import execute
from dive.training.trainer import Trainer

LINEAR = ("model=linear_regression", "data.num_train=300", "data.num_val=40", "trainer.max_epochs=2")
MLP = (
    "model=mlp",
    "model.num_hiddens=[8]",
    "model.dropout=0.5",
    "data=garments",
    "data.num_train=400",
    "data.num_test=40",
    "data.val_size=80",
    "data.batch_size=32",
    "optimizer.momentum=0.9",
    "scheduler=step",
    "scheduler.step_size=1",
    "trainer.max_epochs=2",
)
SETTINGS = {
    "defaults": LINEAR,
    "from scratch, weight decay in the loss": (
        "model=linear_regression_scratch",
        *LINEAR[1:],
        "task.weight_decay=1",
    ),
    "dropout, momentum, scheduler": MLP,
    "Adam": (*(word for word in MLP if not word.startswith("optimizer")), "optimizer=adamw"),
    "gradient clipping by norm": (*LINEAR, "trainer.gradient_clip_val=0.1"),
    "gradient clipping by value": (
        *LINEAR,
        "trainer.gradient_clip_val=0.1",
        "+trainer.gradient_clip_algorithm=value",
    ),
    "validation within epochs": (*LINEAR, "+trainer.val_check_interval=3"),
    "validation across epochs": (
        *LINEAR,
        "+trainer.val_check_interval=7",
        "+trainer.check_val_every_n_epoch=null",
    ),
    "limited batches": (*LINEAR, "trainer.limit_train_batches=5"),
    "max_steps": (*LINEAR, "+trainer.max_steps=13"),
    "double precision": (*LINEAR, "trainer.precision=64-true"),
    "scheduler of steps": (*LINEAR, "scheduler=one_cycle"),
    "bfloat16": (*MLP, "trainer.precision=bf16-mixed"),
    "checkpoints within epochs": (*LINEAR, "callbacks.last.every_n_steps=4"),
}
LIGHTNING_STEPS = {
    "accumulated gradients": (*LINEAR, "+trainer.accumulate_grad_batches=2"),
    "profiler": (*LINEAR, "trainer.profiler=simple"),
    "checkpoints within epochs": SETTINGS["checkpoints within epochs"],
}

WITH_DEFAULT_STEPS = ("defaults", "dropout, momentum, scheduler", "validation across epochs")

Fit = Callable[..., Any]


@pytest.fixture
def lightning_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the indices of the batches on which Lightning itself takes a step."""
    batches: list[int] = []
    advance = _TrainingEpochLoop.advance

    def record_advance(self: _TrainingEpochLoop, data_fetcher: Any) -> None:
        advance(self, data_fetcher)
        batches.append(self.batch_idx)

    monkeypatch.setattr(_TrainingEpochLoop, "advance", record_advance)
    return batches


def record_run(overrides: tuple[str, ...], steps_per_execution: int, folder: Path) -> Path:
    """Train as train.py does and return the run directory; a setting is composed once for all its runs."""
    config = compose_resolved("trainer=cpu", "callbacks=lean", *overrides)
    config["trainer"]["steps_per_execution"] = steps_per_execution
    directory = folder / str(steps_per_execution)
    with Run(directory, config, command="python train.py") as run:
        execute(config, run)
    return directory


@pytest.mark.parametrize("setting", SETTINGS)
def test_fast_steps_equal_lightning_s_steps(
    setting: str,
    tmp_path: Path,
    differences: Callable[[Path, Path], list[str]],
    lightning_steps: list[int],
) -> None:
    single = record_run(SETTINGS[setting], 1, tmp_path)
    num_steps = len(lightning_steps)
    for steps in (4, 50) if setting in WITH_DEFAULT_STEPS else (4,):
        lightning_steps.clear()
        several = record_run(SETTINGS[setting], steps, tmp_path)
        changed = differences(single, several)
        assert sorted(line.partition(": ")[0] for line in changed) == [  # only the setting itself
            f".{name}.config.trainer.steps_per_execution" for name in ("best", "last")
        ]
        assert json.loads((several / "result.json").read_text())["steps"] == num_steps
        assert len(lightning_steps) == (num_steps if SETTINGS[setting] in LIGHTNING_STEPS.values() else 0)


@pytest.mark.parametrize("overrides", LIGHTNING_STEPS.values(), ids=LIGHTNING_STEPS)
def test_lightning_takes_the_steps_where_something_happens_between_them(
    overrides: tuple[str, ...], fit: Fit, lightning_steps: list[int]
) -> None:
    fit(*overrides)
    assert lightning_steps == [*range(10), *range(10)]


@pytest.fixture
def returns_to_lightning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the indices of the batches after which the loop returns to Lightning."""
    batches: list[int] = []
    on_advance_end = FastTrainingEpochLoop.on_advance_end

    def record_advance_end(loop: FastTrainingEpochLoop, data_fetcher: Any) -> None:
        batches.append(loop.batch_idx)
        on_advance_end(loop, data_fetcher)

    monkeypatch.setattr(FastTrainingEpochLoop, "on_advance_end", record_advance_end)
    return batches


def test_the_loop_returns_to_lightning_before_validation_and_at_the_end(
    tmp_path: Path, returns_to_lightning: list[int]
) -> None:
    trainer(tmp_path, steps=4, enable_progress_bar=False).fit(task(), data())
    assert returns_to_lightning == [3, 7, 9]
    returns_to_lightning.clear()
    trainer(tmp_path, steps=4, enable_progress_bar=False, val_check_interval=5).fit(task(), data())
    assert returns_to_lightning == [3, 4, 7, 9]


class BatchRecorder(pl.Callback):
    """Records the batches for which its hook is called."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int
    ) -> None:
        """Record the batch."""
        self.batches.append(idx)


class RecordingProgressBar(ProgressBar):
    """A progress bar that records what it shows."""

    def __init__(self, refresh_rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        super().__init__(refresh_rate)
        self.shown: list[int] = []

    def get_metrics(self, *arguments: Any) -> Any:
        """Record the position of the bar at each refresh."""
        self.shown.append(self.train_progress_bar.n)
        return super().get_metrics(*arguments)


class LoggingTask(RegressionTask):
    """A task with a training step of its own."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Log at each step."""
        loss = super().training_step(batch, batch_idx)
        self.log("step_loss", loss)
        return loss


class FlippingData(SyntheticRegression):
    """A data module that overrides a batch transfer hook."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Reverse the batch."""
        return batch[0].flip(0), batch[1].flip(0)


def trainer(folder: Path, *callbacks: pl.Callback, steps: int = 50, **settings: Any) -> Trainer:
    """A trainer for one epoch with these callbacks."""
    return Trainer(
        steps_per_execution=steps,
        accelerator="cpu",
        max_epochs=1,
        callbacks=list(callbacks),
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )


def data(kind: type[SyntheticRegression] = SyntheticRegression) -> SyntheticRegression:
    """A data module with ten training batches."""
    return kind(w=[2.0, -3.4], b=4.2, noise=0.1, num_train=40, num_val=8, batch_size=4)


def task(kind: type[RegressionTask] = RegressionTask, loss: Any = None) -> RegressionTask:
    """A linear regression task."""
    return kind(LinearRegression(2), loss or nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))


def test_a_batch_hook_is_called_for_each_batch(tmp_path: Path) -> None:
    recorder = BatchRecorder()
    trainer(tmp_path, recorder, enable_progress_bar=False).fit(task(), data())
    assert recorder.batches == list(range(10))


@pytest.mark.parametrize("kinds", [(LoggingTask, SyntheticRegression), (RegressionTask, FlippingData)])
def test_overridden_steps_and_transfer_hooks_are_left_to_lightning(
    kinds: tuple[type[RegressionTask], type[SyntheticRegression]], tmp_path: Path, lightning_steps: list[int]
) -> None:
    trainer(tmp_path, enable_progress_bar=False).fit(task(kinds[0]), data(kinds[1]))
    assert lightning_steps == list(range(10))


@pytest.mark.parametrize("refresh_rate", [4, 50])
def test_the_progress_bar_shows_the_same_as_with_single_steps(
    refresh_rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for steps in (1, 50):
        bar = RecordingProgressBar(refresh_rate, monkeypatch)
        trainer(tmp_path, bar, steps=steps).fit(task(), data())
        shown.append(list(dict.fromkeys(bar.shown)))
    assert shown[0][-1] == 10
    assert shown[1] == [n for n in shown[0] if n > 0]


def test_a_progress_bar_with_its_own_hook_sees_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CountingProgressBar(RecordingProgressBar):
        batches = 0

        def on_train_batch_end(self, *arguments: Any) -> None:
            super().on_train_batch_end(*arguments)
            self.batches += 1

    counts = []
    for steps in (1, 50):
        bar = CountingProgressBar(5, monkeypatch)
        trainer(tmp_path, bar, steps=steps).fit(task(), data())
        counts.append(bar.batches)
    assert counts[0] == counts[1] >= 10


def test_a_signal_takes_effect_after_the_current_step(tmp_path: Path) -> None:
    calls: list[int] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(targets))
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return nn.functional.mse_loss(outputs, targets)

    fitting = trainer(tmp_path, LastCheckpoint(), ExactResume(), enable_progress_bar=False)
    with pytest.raises(RunInterrupted), SignalHandlers(lambda _: None):
        fitting.fit(task(loss=loss), data())
    assert checkpoint_io.load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 4


def test_an_optimizer_may_call_its_closure_several_times(tmp_path: Path) -> None:
    weights = []
    for steps in (1, 50):
        torch.manual_seed(0)
        fitted = task()
        fitted.make_optimizer = lambda groups: torch.optim.LBFGS(
            [p for g in groups for p in g["params"]], max_iter=3
        )
        trainer(tmp_path, steps=steps, enable_progress_bar=False).fit(fitted, data())
        weights.append(fitted.model.coefficients()[0])
    assert torch.equal(*weights)


class SyncRecorder(TorchDispatchMode):
    """Records the callers of operations that synchronize with the device."""

    def __init__(self) -> None:
        super().__init__()
        self.callers: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and record its callers."""
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.callers += [frame.name for frame in traceback.extract_stack() if "dive" in frame.filename]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clip_val", [None, 0.5])
def test_no_step_synchronizes_with_the_device(clip_val: float | None, tmp_path: Path) -> None:
    syncs = SyncRecorder()
    fitting = trainer(
        tmp_path,
        TerminateOnNonFinite(),
        ThroughputMonitor(),
        gradient_clip_val=clip_val,
        enable_progress_bar=False,
    )
    with syncs:
        assert bool(torch.ones(1))  # is recorded
        fitting.fit(task(), data())
    at_epoch_ends = {"log_epoch_metrics", "on_train_epoch_end", "on_validation_end"}
    assert syncs.callers
    assert not {"_run_fast_steps", "training_step", "validation_step"} & set(syncs.callers)
    assert at_epoch_ends & set(syncs.callers)


def test_a_compiled_model_takes_the_same_steps(tmp_path: Path) -> None:
    weights, metrics = [], []
    for settings in ({}, {"compile": {"backend": "aot_eager"}}):
        torch.manual_seed(0)
        fitted = task()
        fitting = trainer(tmp_path, enable_progress_bar=False, **settings)
        fitting.fit(fitted, data())
        weights.append(fitted.model.coefficients()[0])
        metrics.append(fitting.callback_metrics["train/mse"])
    assert torch.allclose(*weights, rtol=1e-6)
    assert torch.allclose(*metrics, rtol=1e-6)


def test_compiled_code_of_earlier_fits_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[int] = []
    fitting = trainer(tmp_path, enable_progress_bar=False, compile={"backend": lambda graph, _: graph})
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    monkeypatch.setattr("dive.training.trainer.may_have_compiled", lambda: False)
    fitting.maybe_compile(task())
    assert resets == []
    monkeypatch.setattr("dive.training.trainer.may_have_compiled", lambda: True)
    fitting.maybe_compile(task())
    assert resets == [1]


def test_outputs_that_a_compiled_model_overwrites_are_copied() -> None:
    shared = torch.zeros(2, 1)

    class GraphModel(nn.Module):
        """Writes its outputs to the same memory each time, as a CUDA graph does."""

        def forward(self, X: Tensor) -> Tensor:
            """The sum of the batch."""
            with torch.no_grad():
                shared.fill_(X.sum())
            return shared.detach()

    graph = GraphModel()
    graph._compiled_call_impl = graph.forward
    compiled = RegressionTask(graph, nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))
    for value in (1.0, 2.0):
        compiled.validation_step((torch.full((2, 1), value), torch.zeros(2, 1)), 0)
    assert compiled.means["val"].compute()["mse"].item() == (2.0**2 + 4.0**2) / 2


@pytest.mark.parametrize("precision", ["high", "highest"])
def test_matmul_precision_is_set(precision: Any, tmp_path: Path) -> None:
    trainer(tmp_path, matmul_precision=precision)
    assert torch.get_float32_matmul_precision() == precision


def test_steps_per_execution_must_be_positive() -> None:
    with pytest.raises(ValueError, match="steps_per_execution must be at least 1, got 0"):
        Trainer(steps_per_execution=0)
