"""Several steps at once against one at a time: the same bits everywhere, Lightning's own steps where needed."""

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
from dive.data import SyntheticRegression
from dive.models import LinearRegression
from dive.runs import checkpoint_io
from dive.runs.signals import RunInterrupted, SignalHandlers
from dive.tasks.task import Batch, RegressionTask
from dive.training.fast.epoch_loop import FastTrainingEpochLoop
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
    "trainer.max_epochs=3",
)
SETTINGS = {
    "as it is": LINEAR,
    "from scratch, with decay in the loss": (
        "model=linear_regression_scratch",
        *LINEAR[1:],
        "task.weight_decay=1",
    ),
    "dropout, momentum, a scheduler": MLP,
    "Adam": (*(word for word in MLP if not word.startswith("optimizer")), "optimizer=adamw"),
    "clipped": (*LINEAR, "trainer.gradient_clip_val=0.1"),
    "clipped by value": (*LINEAR, "trainer.gradient_clip_val=0.1", "+trainer.gradient_clip_algorithm=value"),
    "validated within epochs": (*LINEAR, "+trainer.val_check_interval=3"),
    "validated across epochs": (*LINEAR, "+trainer.val_check_interval=7", "+trainer.check_val_every_n_epoch=null"),
    "a part of the batches": (*LINEAR, "trainer.limit_train_batches=5"),
    "a number of steps": (*LINEAR, "+trainer.max_steps=13"),
    "double precision": (*LINEAR, "trainer.precision=64-true"),
    "half of the bits": (*MLP, "trainer.precision=bf16-mixed"),
    "saved within epochs": (*LINEAR, "callbacks.last.every_n_steps=4"),
}
OWN = {
    "accumulated": (*LINEAR, "+trainer.accumulate_grad_batches=2"),
    "profiled": (*LINEAR, "trainer.profiler=simple"),
    "saved within epochs": SETTINGS["saved within epochs"],
}

Fit = Callable[..., Any]


@pytest.fixture
def lightnings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches of an epoch, by number, that Lightning itself has stepped on."""
    stepped: list[int] = []
    advance = _TrainingEpochLoop.advance

    def noted(loop: _TrainingEpochLoop, data_fetcher: Any) -> None:
        advance(loop, data_fetcher)
        stepped.append(loop.batch_idx)

    monkeypatch.setattr(_TrainingEpochLoop, "advance", noted)
    return stepped


@pytest.mark.parametrize("overrides", SETTINGS.values(), ids=SETTINGS)
def test_several_steps_at_once_leave_what_single_steps_leave(
    overrides: tuple[str, ...],
    train: Callable[..., Any],
    differences: Callable[[Path, Path], list[str]],
    lightnings: list[int],
) -> None:
    alone = train("trainer=cpu", *overrides, "trainer.steps_per_execution=1")
    all_steps = len(lightnings)
    lightnings.clear()
    for steps in (4, 50):
        together = train("trainer=cpu", *overrides, f"trainer.steps_per_execution={steps}")
        apart = differences(alone.directory, together.directory)
        assert sorted(line.partition(": ")[0] for line in apart) == [  # nothing but what the run was told
            f".{kept}.config.trainer.steps_per_execution" for kept in ("best", "last")
        ]
        assert together.result["steps"] == all_steps
    assert len(lightnings) == (2 * all_steps if overrides in OWN.values() else 0)


@pytest.mark.parametrize("overrides", OWN.values(), ids=OWN)
def test_what_happens_between_steps_happens(overrides: tuple[str, ...], fit: Fit, lightnings: list[int]) -> None:
    fit(*overrides)
    assert lightnings == [*range(10), *range(10)]


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches of an epoch, by number, after which the loop looks what else is to do."""
    batches: list[int] = []
    on_advance_end = FastTrainingEpochLoop.on_advance_end

    def noted(loop: FastTrainingEpochLoop, data_fetcher: Any) -> None:
        batches.append(loop.batch_idx)
        on_advance_end(loop, data_fetcher)

    monkeypatch.setattr(FastTrainingEpochLoop, "on_advance_end", noted)
    return batches


def test_the_loop_looks_up_after_the_steps_that_something_follows(fit: Fit, looked_up: list[int]) -> None:
    fit(*LINEAR, "trainer.steps_per_execution=4", "trainer.max_epochs=1")
    assert looked_up == [3, 7, 9]
    looked_up.clear()
    fit(*LINEAR, "trainer.steps_per_execution=4", "trainer.max_epochs=1", "+trainer.val_check_interval=5")
    assert looked_up == [3, 4, 7, 9]


class Told(pl.Callback):
    """Has a hook around batches, and notes which it is called for."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int
    ) -> None:
        """Note the batch."""
        self.batches.append(idx)


class Sees(ProgressBar):
    """A progress bar that notes how often it is called for, and what it shows."""

    def __init__(self, refresh_rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        super().__init__(refresh_rate)
        self.shown: list[int] = []

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Note what the bar shows."""
        super().on_train_batch_end(*arguments)
        self.shown.append(self.train_progress_bar.n)


class Wanting(RegressionTask):
    """A task that takes its steps in its own way."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Log at each step."""
        loss = super().training_step(batch, batch_idx)
        self.log("step_loss", loss)
        return loss


class Flipping(SyntheticRegression):
    """A data module that changes its batches on the way."""

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Turn them around."""
        return batch[0].flip(0), batch[1].flip(0)


def trainer(folder: Path, *callbacks: pl.Callback, steps: int = 50, **settings: Any) -> Trainer:
    """Of one epoch, with these observers."""
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
    """Ten batches."""
    return kind(w=[2.0, -3.4], b=4.2, noise=0.1, num_train=40, num_val=8, batch_size=4)


def task(kind: type[RegressionTask] = RegressionTask, loss: Any = None) -> RegressionTask:
    """Linear regression."""
    return kind(LinearRegression(2), loss or nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))


def test_a_hook_around_batches_is_called_for_each(tmp_path: Path) -> None:
    told = Told()
    trainer(tmp_path, told, enable_progress_bar=False).fit(task(), data())
    assert told.batches == list(range(10))


@pytest.mark.parametrize("kinds", [(Wanting, SyntheticRegression), (RegressionTask, Flipping)])
def test_own_ways_are_kept(
    kinds: tuple[type[RegressionTask], type[SyntheticRegression]], tmp_path: Path, lightnings: list[int]
) -> None:
    trainer(tmp_path, enable_progress_bar=False).fit(task(kinds[0]), data(kinds[1]))
    assert lightnings == list(range(10))


@pytest.mark.parametrize("refresh_rate", [4, 50])
def test_the_progress_bar_shows_what_it_shows_at_single_steps(
    refresh_rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    for steps in (1, 50):
        bar = Sees(refresh_rate, monkeypatch)
        trainer(tmp_path, bar, steps=steps).fit(task(), data())
        shown.append(list(dict.fromkeys(bar.shown)))
    assert shown[0][-1] == 10
    assert shown[1] == [n for n in shown[0] if n > 0]


def test_a_signal_is_heeded_after_the_step_that_it_comes_in(tmp_path: Path) -> None:
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


def test_an_optimizer_may_call_for_the_gradients_as_often_as_it_likes(tmp_path: Path) -> None:
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


class Waits(TorchDispatchMode):
    """Notes each operation that would have the program wait for a device, and who asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.where: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.where += [frame.name for frame in traceback.extract_stack() if "dive" in frame.filename]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("clipped", [None, 0.5])
def test_no_step_waits_for_the_device(clipped: float | None, tmp_path: Path) -> None:
    waits = Waits()
    fitting = trainer(
        tmp_path, TerminateOnNonFinite(), ThroughputMonitor(), gradient_clip_val=clipped, enable_progress_bar=False
    )
    with waits:
        assert bool(torch.ones(1))  # it does note
        fitting.fit(task(), data())
    at_the_ends = {"log_epoch", "on_train_epoch_end", "on_validation_end", "_look_at_weights"}
    assert waits.where
    assert not {"_take_bare_steps", "training_step", "validation_step"} & set(waits.where)
    assert at_the_ends & set(waits.where)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model_takes_the_same_steps(backend: str, tmp_path: Path) -> None:
    weights, metrics = [], []
    for settings in ({}, {"compile": {"backend": backend}}):
        torch.manual_seed(0)
        fitted = task()
        fitting = trainer(tmp_path, enable_progress_bar=False, **settings)
        fitting.fit(fitted, data())
        weights.append(fitted.model.coefficients()[0])
        metrics.append(fitting.callback_metrics["train/mse"])
    assert torch.allclose(*weights, rtol=1e-6)
    assert torch.allclose(*metrics, rtol=1e-6)


def test_outputs_that_a_compiled_model_writes_over_are_copied() -> None:
    shared = torch.zeros(2, 1)

    class Graph(nn.Module):
        """Writes all of its outputs into the same memory, as a CUDA graph does."""

        def forward(self, X: Tensor) -> Tensor:
            """The sum of the batch."""
            with torch.no_grad():
                shared.fill_(X.sum())
            return shared.detach()

    graph = Graph()
    graph._compiled_call_impl = graph.forward
    compiled = RegressionTask(graph, nn.MSELoss(), partial(torch.optim.SGD, lr=0.03))
    for value in (1.0, 2.0):
        compiled.validation_step((torch.full((2, 1), value), torch.zeros(2, 1)), 0)
    assert compiled.means["val"].compute()["mse"].item() == (2.0**2 + 4.0**2) / 2


@pytest.mark.parametrize("precision", ["high", "highest"])
def test_the_precision_of_matrix_products_is_a_setting(precision: Any, tmp_path: Path) -> None:
    trainer(tmp_path, matmul_precision=precision)
    assert torch.get_float32_matmul_precision() == precision


def test_no_steps_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="steps_per_execution must be at least 1, got 0"):
        Trainer(steps_per_execution=0)
