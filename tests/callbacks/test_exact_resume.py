"""A resumed fit has the same batches, random numbers, metrics and checkpoints as an uninterrupted one."""

import random
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dive.callbacks import BestCheckpoint, EarlyStopping, ExactResume, LastCheckpoint, LearningRateMonitor
from dive.callbacks.exact_resume import normalize_loop_progress
from dive.data import SyntheticRegression
from dive.errors import RunError
from dive.loggers import MetricsHistoryLogger
from dive.runs import checkpoint_io, signals
from dive.runs.checkpoint_schema import LEVELS
from dive.runs.signals import RunInterrupted
from dive.tasks.task import RegressionTask
from dive.training.trainer import Trainer


class NoisyTask(RegressionTask):
    """Uses all random generators in training, and an optimizer and a scheduler with state."""

    def __init__(self) -> None:
        model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        super().__init__(
            model,
            nn.MSELoss(),
            partial(torch.optim.Adam, lr=0.03),
            partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.7),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Scale the loss by a random factor."""
        return super().training_step(batch, batch_idx) * (1 + random.random() + np.random.rand())


class Recorder(pl.Callback):
    """Records training and validation batches, and calls `action` when a hook is called for the n-th time."""

    def __init__(self, hook: str = "", count: int = 0, action: Callable[[], Any] = lambda: None) -> None:
        self.trained: list[list[float]] = []
        self.validated: list[int] = []
        self._trigger = hook, count
        self._action = action
        self._calls = 0

    def _count(self, hook: str) -> None:
        self._calls += hook == self._trigger[0]
        if (hook, self._calls) == self._trigger:
            self._trigger = "", 0
            self._action()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Record the batch."""
        self.trained.append(args[0][0].flatten().tolist())
        self._count("train batch")

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Record the step."""
        self.validated.append(trainer.global_step)
        self._count("val batch")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the call."""
        self._count("val end")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the call."""
        self._count("epoch end")


@pytest.fixture(autouse=True)
def several_validation_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several validation batches, and no plots."""
    monkeypatch.setattr("dive.data.datamodule.EVAL_BATCH_SIZE", 3)
    monkeypatch.setattr("dive.loggers.history.plot_curves", lambda *_: None)


def examples(**settings: Any) -> SyntheticRegression:
    """Six training and three validation batches."""
    return SyntheticRegression(
        **{"w": [2.0, -3.4], "b": 4.2, "noise": 0.1, "num_train": 22, "num_val": 10, "batch_size": 4, **settings}
    )


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


class Run:
    """A fit with checkpoints, and its state afterwards."""

    def __init__(
        self,
        folder: Path,
        recorder: Recorder | None = None,
        resume: str | None = None,
        every_n_steps: int | None = None,
        callbacks: list[pl.Callback] | None = None,
        data: pl.LightningDataModule | None = None,
        **settings: Any,
    ) -> None:
        self.recorder = recorder or Recorder()
        folder.mkdir(exist_ok=True)
        self.history = MetricsHistoryLogger(folder)
        self.task = NoisyTask()
        self.best = BestCheckpoint("val/loss")
        self.trainer = Trainer(
            accelerator="cpu",
            callbacks=[
                *(callbacks or []),
                self.best,
                LastCheckpoint(every_n_steps),
                ExactResume(),
                LearningRateMonitor(),
                self.recorder,
            ],
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **{"logger": self.history, "max_epochs": 3, **settings},
        )
        with signals.SignalHandlers(lambda code: pytest.fail(f"forced exit with code {code}")):
            self.trainer.fit(
                self.task, data or examples(), ckpt_path=folder / "checkpoints" / resume if resume else None
            )


def interrupt() -> None:
    """Request an exit, as `dive.runs.signals` does when a signal arrives."""
    callback = signals._on_interrupt
    assert callback is not None
    callback(RunInterrupted(signals.signal.SIGTERM))


def load_comparable(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    """A checkpoint as plain values, without the path of its folder."""
    checkpoint = checkpoint_io.load_checkpoint(folder / "checkpoints" / name)

    def comparable(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {comparable(key): comparable(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [comparable(item) for item in value]
        if isinstance(value, Tensor):
            return [str(value.dtype), value.tolist()]
        return value.replace(str(folder), "") if isinstance(value, str) else value

    return comparable(checkpoint)


def random_numbers() -> list[float]:
    return [random.random(), np.random.rand(), float(torch.rand(1))]


class Uninterrupted:
    """A fit from seed 0, the random numbers and the checkpoints after it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        seed(0)
        self.run = Run(folder, **settings)
        self.random_after = random_numbers()
        self.trained = self.run.recorder.trained
        self.rows = self.run.history.rows
        self.last = load_comparable(folder)
        self.best = load_comparable(folder, "best.ckpt") if self.run.best.best_model_path else None


@pytest.fixture(scope="module")
def fit_uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Uninterrupted]:
    """Fit without interruption, once for all tests with the same settings."""
    return cache(lambda **settings: Uninterrupted(tmp_path_factory.mktemp("uninterrupted"), **settings))


SETTINGS = {
    "": {},
    "accumulate 2": {"accumulate_grad_batches": 2},
    "accumulate 4": {"accumulate_grad_batches": 4},
    "validate every 3 batches": {"val_check_interval": 0.5},
    "validate while accumulating": {"val_check_interval": 0.5, "accumulate_grad_batches": 2},
    "limited batches": {"limit_train_batches": 4, "limit_val_batches": 2},
    "validate every 2 epochs": {"check_val_every_n_epoch": 2},
    "no validation": {"limit_val_batches": 0},
    "max_steps": {"max_epochs": -1, "max_steps": 10},
    "max_steps and validation": {"max_epochs": -1, "max_steps": 9, "val_check_interval": 0.5},
}


@pytest.mark.parametrize(
    ("kind", "hook", "count", "steps"),
    [
        ("", "train batch", 1, 1),
        ("", "train batch", 8, 8),  # within the second epoch
        ("", "train batch", 12, 12),  # its last batch: handled during the following validation
        ("", "val batch", 5, 12),
        ("", "val batch", 9, 18),  # the last batch of the fit
        ("", "val end", 1, 6),
        ("", "epoch end", 2, 12),
        ("", "epoch end", 3, 18),
        ("accumulate 2", "train batch", 7, 4),  # handled after the second batch of the step
        ("accumulate 2", "train batch", 8, 4),
        ("accumulate 4", "train batch", 5, 2),  # the last step of an epoch accumulates two batches only
        ("validate every 3 batches", "train batch", 9, 9),
        ("validate every 3 batches", "val batch", 6, 6),
        ("validate every 3 batches", "val batch", 8, 9),
        ("validate while accumulating", "train batch", 3, 2),
        ("validate while accumulating", "val batch", 5, 3),
        ("validate while accumulating", "val batch", 8, 5),
        ("limited batches", "train batch", 5, 5),
        ("limited batches", "val batch", 2, 4),
        ("validate every 2 epochs", "train batch", 6, 6),
        ("no validation", "train batch", 12, 12),
        ("max_steps", "train batch", 10, 10),
        ("max_steps and validation", "val batch", 8, 9),
    ],
)
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # in epochs without validation
def test_interrupted_and_resumed_fit_equals_an_uninterrupted_one(
    tmp_path: Path,
    kind: str,
    hook: str,
    count: int,
    steps: int,
    fit_uninterrupted: Callable[..., Uninterrupted],
) -> None:
    settings = SETTINGS[kind]
    uninterrupted = fit_uninterrupted(**settings)

    seed(0)
    first = Recorder(hook, count, interrupt)
    with pytest.raises(RunInterrupted):
        Run(tmp_path / "resumed", first, **settings)
    assert load_comparable(tmp_path / "resumed")["global_step"] == steps
    seed(1)
    second = Run(tmp_path / "resumed", resume="last.ckpt", **settings)

    random_after = random_numbers()
    assert first.trained + second.recorder.trained == uninterrupted.trained
    assert second.history.rows == uninterrupted.rows
    assert second.trainer.callback_metrics.keys() <= uninterrupted.run.trainer.callback_metrics.keys()
    assert load_comparable(tmp_path / "resumed") == uninterrupted.last
    if kind != "no validation":
        assert load_comparable(tmp_path / "resumed", "best.ckpt") == uninterrupted.best
    if steps < uninterrupted.run.trainer.global_step:
        assert random_after == uninterrupted.random_after


class KilledError(Exception):
    """Stands for SIGKILL: no callback handles it."""


def kill() -> None:
    raise KilledError


@pytest.mark.parametrize(
    ("settings", "count", "steps"),
    [
        ({}, 9, 8),
        ({}, 7, 6),  # saved at the start of this epoch
        ({}, 13, 12),
        ({"accumulate_grad_batches": 2}, 11, 4),
        ({"val_check_interval": 0.5}, 10, 8),
    ],
)
def test_killed_fit_resumes_from_the_last_saved_step(
    tmp_path: Path,
    settings: dict[str, Any],
    count: int,
    steps: int,
    fit_uninterrupted: Callable[..., Uninterrupted],
) -> None:
    uninterrupted = fit_uninterrupted(every_n_steps=4, **settings)
    seed(0)
    with pytest.raises(KilledError):
        Run(tmp_path / "resumed", Recorder("train batch", count, kill), every_n_steps=4, **settings)
    assert load_comparable(tmp_path / "resumed")["global_step"] == steps
    seed(1)
    second = Run(tmp_path / "resumed", resume="last.ckpt", every_n_steps=4, **settings)
    assert second.history.rows == uninterrupted.rows
    assert load_comparable(tmp_path / "resumed") == uninterrupted.last


def test_fit_can_be_interrupted_repeatedly(
    tmp_path: Path, fit_uninterrupted: Callable[..., Uninterrupted]
) -> None:
    uninterrupted = fit_uninterrupted()
    seed(0)
    trained: list[list[float]] = []
    resume = None
    for hook, count in [
        ("train batch", 2),
        ("train batch", 1),
        ("val batch", 1),
        ("val batch", 1),
        ("epoch end", 1),
    ]:
        recorder = Recorder(hook, count, interrupt)
        with pytest.raises(RunInterrupted):
            Run(tmp_path / "resumed", recorder, resume)
        trained += recorder.trained
        resume = "last.ckpt"
    last = Run(tmp_path / "resumed", resume="last.ckpt")
    assert trained + last.recorder.trained == uninterrupted.trained
    assert last.history.rows == uninterrupted.rows
    assert load_comparable(tmp_path / "resumed") == uninterrupted.last


@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # there is no validation
def test_fit_with_dataloader_workers_resumes(tmp_path: Path) -> None:
    seed(0)
    uninterrupted = Run(tmp_path / "uninterrupted", data=examples(num_workers=2), limit_val_batches=0)
    seed(0)
    first = Recorder("train batch", 8, interrupt)
    with pytest.raises(RunInterrupted):
        Run(tmp_path / "resumed", first, data=examples(num_workers=2), limit_val_batches=0)
    second = Run(tmp_path / "resumed", resume="last.ckpt", data=examples(num_workers=2), limit_val_batches=0)
    assert first.trained + second.recorder.trained == uninterrupted.recorder.trained
    assert load_comparable(tmp_path / "resumed") == load_comparable(tmp_path / "uninterrupted")


def test_interrupted_validation_restarts_from_its_first_batch(tmp_path: Path) -> None:
    first = Recorder("val batch", 5, interrupt)
    with pytest.raises(RunInterrupted):
        Run(tmp_path / "run", first)
    second = Run(tmp_path / "run", resume="last.ckpt")
    assert first.validated == [6, 6, 6, 12, 12]
    assert second.recorder.validated == [12, 12, 12, 18, 18, 18]


def test_finished_fit_resumes_only_with_more_epochs(
    tmp_path: Path, fit_uninterrupted: Callable[..., Uninterrupted]
) -> None:
    uninterrupted = fit_uninterrupted()  # three epochs
    seed(0)
    Run(tmp_path / "run", max_epochs=2)
    assert Run(tmp_path / "run", resume="last.ckpt", max_epochs=2).recorder.trained == []
    longer = Run(tmp_path / "run", resume="last.ckpt", max_epochs=3)
    assert len(longer.recorder.trained) == 6
    assert longer.history.rows == uninterrupted.rows
    assert load_comparable(tmp_path / "run") == uninterrupted.last


@pytest.mark.parametrize("best", [3, 6, 9, 12, 15])
@pytest.mark.parametrize("kind", ["", "validate every 3 batches"])
def test_resuming_from_the_best_checkpoint_repeats_later_steps(
    tmp_path: Path, fit_uninterrupted: Callable[..., Uninterrupted], kind: str, best: int
) -> None:
    if not kind and best % 6:
        pytest.skip("no validation at that step")

    def stopping() -> EarlyStopping:
        return EarlyStopping("val/loss", patience=9)

    uninterrupted = fit_uninterrupted(**SETTINGS[kind])
    first, again = stopping(), stopping()
    seed(0)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(BestCheckpoint, "check_monitor_top_k", lambda _, fit, __: fit.global_step == best)
        Run(tmp_path / "run", callbacks=[first], **SETTINGS[kind])
    assert load_comparable(tmp_path / "run", "best.ckpt")["global_step"] == best
    seed(1)
    resumed = Run(tmp_path / "run", resume="best.ckpt", callbacks=[again], **SETTINGS[kind])
    assert len(resumed.recorder.trained) == 18 - best
    assert resumed.history.rows == uninterrupted.rows
    assert again.state_dict() == first.state_dict(), "each validation has counted once"


def test_a_higher_patience_continues_a_stopped_fit(tmp_path: Path) -> None:
    def fit(folder: str, patience: int, **resume: str) -> Run:
        stopping = EarlyStopping("val/loss", patience=patience, min_delta=100.0)
        return Run(tmp_path / folder, callbacks=[stopping], max_epochs=9, **resume)

    seed(0)
    uninterrupted = fit("uninterrupted", 4)
    seed(0)
    assert len(fit("run", 1).recorder.trained) == 12
    resumed = fit("run", 4, resume="last.ckpt")
    assert len(resumed.recorder.trained) == 18, "it stops in the fifth epoch"
    assert resumed.history.rows == uninterrupted.history.rows
    assert fit("run", 3, resume="last.ckpt").recorder.trained == []


def test_resumed_fit_stays_stopped_after_early_stopping(tmp_path: Path) -> None:
    def early_stopping() -> list[pl.Callback]:
        return [EarlyStopping("val/loss", patience=1, min_delta=100.0)]

    stopped = Run(tmp_path / "run", callbacks=early_stopping(), max_epochs=9)
    assert len(stopped.recorder.trained) == 12
    again = Run(tmp_path / "run", resume="last.ckpt", callbacks=early_stopping(), max_epochs=9)
    assert again.recorder.trained == []
    assert again.history.rows == stopped.history.rows


class PlainDataModule(pl.LightningDataModule):
    """Plain DataLoaders, without a state."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Six batches."""
        return self._loader(24)

    def val_dataloader(self) -> DataLoader[Any]:
        """Two batches."""
        return self._loader(8)

    def _loader(self, count: int) -> DataLoader[Any]:
        X = torch.arange(2.0 * count).reshape(count, 2) / count
        return DataLoader(TensorDataset(X, X.sum(1, keepdim=True)), batch_size=4)


def test_fit_with_plain_dataloaders_resumes_after_an_epoch(tmp_path: Path) -> None:
    uninterrupted = Run(tmp_path / "uninterrupted", data=PlainDataModule())
    first = Recorder("epoch end", 1, interrupt)
    with pytest.raises(RunInterrupted):
        Run(tmp_path / "resumed", first, data=PlainDataModule())
    second = Run(tmp_path / "resumed", resume="last.ckpt", data=PlainDataModule())
    assert first.trained + second.recorder.trained == uninterrupted.recorder.trained
    assert second.history.rows.keys() == uninterrupted.history.rows.keys()


def test_validating_a_checkpoint_keeps_random_state_and_logged_rows(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    rows = {step: dict(row) for step, row in run.history.rows.items()}
    seed(7)
    expected = random_numbers()
    seed(7)
    run.trainer.validate(
        run.task, run.trainer.datamodule, ckpt_path=tmp_path / "run" / "checkpoints" / "last.ckpt", verbose=False
    )
    assert random_numbers() == expected
    assert {step: run.history.rows[step] for step in rows if step < 17} == {
        step: row for step, row in rows.items() if step < 17
    }


def test_means_are_restored_to_the_device_of_the_module(tmp_path: Path) -> None:
    trainer = Run(tmp_path / "run").trainer
    task = NoisyTask()
    task.means["train"].update(torch.tensor(1.0), torch.ones(4, 1), torch.ones(4, 1))
    callback = ExactResume()
    callback.on_load_checkpoint(trainer, task, {"means": task.means["train"].state_dict(), "global_step": 18})
    callback.on_train_start(trainer, task.to("meta"))
    task.means["train"].update(*(torch.ones(shape, device="meta") for shape in [(), (4, 1), (4, 1)]))
    assert task.means["train"].loss_sum().device.type == "meta"
    assert {value.device.type for value in task.means["train"].compute().values()} == {"meta"}


# The state of Lightning's loops.


def progress(**levels: tuple[int, int, int, int]) -> dict[str, dict[str, int]]:
    return {scope: dict(zip(LEVELS, numbers, strict=True)) for scope, numbers in levels.items()}


def loops(
    epochs: tuple[int, int, int, int],
    batches: tuple[int, int, int, int],
    in_epoch: tuple[int, int, int, int],
    is_last: bool,
    loader: dict[str, Any],
) -> dict[str, Any]:
    """The state of the fit loop as Lightning would save it."""
    return {
        "epoch_progress": progress(total=epochs, current=epochs),
        "epoch_loop.batch_progress": {**progress(total=batches, current=in_epoch), "is_last_batch": is_last},
        "epoch_loop.val_loop.batch_progress": {
            **progress(total=(1, 1, 0, 0), current=(2, 2, 2, 2)),
            "is_last_batch": True,
        },
        "epoch_loop.state_dict": {"_batches_that_stepped": 99},
        "state_dict": {"combined_loader": [loader]},
    }


ZERO = (0, 0, 0, 0)


@pytest.mark.parametrize(
    "epochs", [(2, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 0)], ids=["next epoch", "end of training", "end of epoch"]
)
def test_progress_between_epochs_is_the_start_of_the_next(epochs: tuple[int, int, int, int]) -> None:
    state = loops(epochs, (6, 6, 6, 6), (6, 6, 6, 6), True, {"epoch": 0, "position": 6})
    assert normalize_loop_progress(state, steps=6, validating=False) == 0
    assert state == {
        "epoch_progress": progress(total=(2, 1, 1, 1), current=(2, 1, 1, 1)),
        "epoch_loop.batch_progress": {**progress(total=(6, 6, 6, 6), current=ZERO), "is_last_batch": False},
        "epoch_loop.val_loop.batch_progress": {**progress(total=ZERO, current=ZERO), "is_last_batch": False},
        "epoch_loop.state_dict": {"_batches_that_stepped": 6},
        "state_dict": {"combined_loader": [{"epoch": 1, "position": 0}]},
    }


def test_progress_within_an_epoch_is_after_the_completed_batches() -> None:
    state = loops((2, 2, 1, 1), (8, 8, 8, 7), (2, 2, 2, 1), False, {"epoch": 1, "position": 2})
    assert normalize_loop_progress(state, steps=8, validating=False) == 1
    assert state == {
        "epoch_progress": progress(total=(2, 1, 1, 1), current=(2, 1, 1, 1)),
        "epoch_loop.batch_progress": {
            **progress(total=(8, 8, 8, 8), current=(2, 2, 2, 2)),
            "is_last_batch": False,
        },
        "epoch_loop.val_loop.batch_progress": {**progress(total=ZERO, current=ZERO), "is_last_batch": False},
        "epoch_loop.state_dict": {"_batches_that_stepped": 8},
        "state_dict": {"combined_loader": [{"epoch": 1, "position": 2}]},
    }


@pytest.mark.parametrize("is_last", [False, True])
def test_progress_during_validation_restarts_validation(is_last: bool) -> None:
    state = loops((2, 2, 1, 1), (9, 9, 9, 9), (3, 3, 3, 3), is_last, {"epoch": 1, "position": 3})
    assert normalize_loop_progress(state, steps=9, validating=True) == 1
    assert state == {
        "epoch_progress": progress(total=(2, 1, 1, 1), current=(2, 1, 1, 1)),
        "epoch_loop.batch_progress": {
            **progress(total=(9, 9, 9, 9), current=(3, 3, 3, 3)),
            "is_last_batch": is_last,
        },
        "epoch_loop.val_loop.batch_progress": {
            **progress(total=(1, 1, 0, 0), current=ZERO),
            "is_last_batch": False,
        },
        "epoch_loop.state_dict": {"_batches_that_stepped": 8},
        "state_dict": {"combined_loader": [{"epoch": 1, "position": 3}]},
    }


@pytest.mark.parametrize("loader", [{}, {"epoch": 5, "offset": 3}])
def test_state_of_other_dataloaders_is_not_changed(loader: dict[str, Any]) -> None:
    state = loops((1, 1, 1, 1), (6, 6, 6, 6), (6, 6, 6, 6), True, dict(loader))
    normalize_loop_progress(state, steps=6, validating=False)
    assert state["state_dict"] == {"combined_loader": [loader]}
    del state["state_dict"]["combined_loader"]
    normalize_loop_progress(state, steps=6, validating=False)
    assert state["state_dict"] == {}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer_states": []}, r"resume=.*: the checkpoint has 0 optimizer_states, but the run has 1"),
        ({"lr_schedulers": [{}, {}]}, r"resume=.*: the checkpoint has 2 lr_schedulers, but the run has 1"),
        ({"optimizer_states": [{}]}, r"last\.ckpt does not fit this run: KeyError: 'param_groups'"),
        ({"state_dict": {}}, r"last\.ckpt does not fit this run: RuntimeError: Error.* Missing key"),
        ({"means": {}}, r"last\.ckpt does not fit this run: KeyError: 'losses'"),
        (
            {"random": {"python": [3], "numpy": [], "torch": torch.zeros(1), "cuda": []}},
            r"last\.ckpt does not fit this run: ValueError: not enough values",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_rejected(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    seed(0)
    Run(tmp_path, max_epochs=1)
    path = tmp_path / "checkpoints" / "last.ckpt"
    checkpoint_io.save_checkpoint(checkpoint_io.load_checkpoint(path) | changed, path)
    with pytest.raises(RunError, match=message):
        Run(tmp_path, resume="last.ckpt", max_epochs=2)


def test_other_errors_of_a_resumed_fit_are_not_changed(tmp_path: Path) -> None:
    seed(0)
    Run(tmp_path, max_epochs=1)
    with pytest.raises(KilledError):
        Run(tmp_path, Recorder("train batch", 1, kill), resume="last.ckpt", max_epochs=2)
