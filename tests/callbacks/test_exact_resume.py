"""A fit that is interrupted and goes on: the same batches, numbers, rows and checkpoints as one never stopped."""

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dive.callbacks import BestCheckpoint, EarlyStopping, ExactResume, LastCheckpoint, LearningRateMonitor
from dive.callbacks.exact_resume import LEVELS, restore_loop_progress
from dive.data import SyntheticRegression
from dive.loggers import MetricsHistoryLogger
from dive.runs import checkpoint_io, signals
from dive.runs.signals import RunInterrupted
from dive.tasks.task import RegressionTask
from dive.training.trainer import Trainer


class Noisy(RegressionTask):
    """Draws random numbers of every kind in training, and has an optimizer and a scheduler that remember."""

    def __init__(self) -> None:
        model = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.5), nn.Linear(4, 1))
        super().__init__(
            model,
            nn.MSELoss(),
            partial(torch.optim.Adam, lr=0.03),
            partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.7),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss, more or less."""
        return super().training_step(batch, batch_idx) * (1 + random.random() + np.random.rand())


class Witness(pl.Callback):
    """Writes down what is trained and validated on, and does something when a hook is called for the n-th time."""

    def __init__(self, hook: str = "", count: int = 0, do: Callable[[], Any] = lambda: None) -> None:
        self.trained: list[list[float]] = []
        self.validated: list[int] = []
        self._at = hook, count
        self._do = do
        self._calls = 0

    def _note(self, hook: str) -> None:
        self._calls += hook == self._at[0]
        if (hook, self._calls) == self._at:
            self._at = "", 0
            self._do()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """A batch to train on."""
        self.trained.append(args[0][0].flatten().tolist())
        self._note("train batch")

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """A batch to validate on."""
        self.validated.append(trainer.global_step)
        self._note("val batch")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validation is through."""
        self._note("val end")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An epoch is through."""
        self._note("epoch end")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several batches of validation, and no pictures."""
    monkeypatch.setattr("dive.data.datamodule.EVAL_BATCH_SIZE", 3)
    monkeypatch.setattr("dive.loggers.history.plot_curves", lambda *_: None)


def examples(**settings: Any) -> SyntheticRegression:
    """Six batches to train on, three to validate on."""
    return SyntheticRegression(
        **{"w": [2.0, -3.4], "b": 4.2, "noise": 0.1, "num_train": 22, "num_val": 10, "batch_size": 4, **settings}
    )


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


class Left:
    """A fit, and what it leaves."""

    def __init__(
        self,
        folder: Path,
        witness: Witness | None = None,
        resume: str | None = None,
        every_n_steps: int | None = None,
        more: list[pl.Callback] | None = None,
        data: pl.LightningDataModule | None = None,
        **settings: Any,
    ) -> None:
        self.witness = witness or Witness()
        folder.mkdir(exist_ok=True)
        self.history = MetricsHistoryLogger(folder)
        self.task = Noisy()
        self.best = BestCheckpoint("val/loss")
        self.trainer = Trainer(
            accelerator="cpu",
            callbacks=[
                *(more or []),
                self.best,
                LastCheckpoint(every_n_steps),
                ExactResume(),
                LearningRateMonitor(),
                self.witness,
            ],
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **{"logger": self.history, "max_epochs": 3, **settings},
        )
        with signals.SignalHandlers(lambda code: pytest.fail(f"last words, {code}")):
            self.trainer.fit(
                self.task, data or examples(), ckpt_path=folder / "checkpoints" / resume if resume else None
            )


def ask() -> None:
    """As `dive.runs.signals` does when a signal comes."""
    signal_handler = signals._at_next_step
    assert signal_handler is not None
    signal_handler(RunInterrupted(signals.signal.SIGTERM))


def kept(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    """A checkpoint, with the folder that it was saved in left out."""
    checkpoint = checkpoint_io.load_checkpoint(folder / "checkpoints" / name)

    def elsewhere(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {elsewhere(key): elsewhere(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [elsewhere(item) for item in value]
        if isinstance(value, Tensor):
            return [str(value.dtype), value.tolist()]
        return value.replace(str(folder), "") if isinstance(value, str) else value

    return elsewhere(checkpoint)


def random_numbers() -> list[float]:
    return [random.random(), np.random.rand(), float(torch.rand(1))]


WHOLE = {
    "": {},
    "two batches a step": {"accumulate_grad_batches": 2},
    "four batches a step": {"accumulate_grad_batches": 4},
    "validation after three batches": {"val_check_interval": 0.5},
    "validation in the middle of a step": {"val_check_interval": 0.5, "accumulate_grad_batches": 2},
    "fewer batches": {"limit_train_batches": 4, "limit_val_batches": 2},
    "validation every other epoch": {"check_val_every_n_epoch": 2},
    "no validation": {"limit_val_batches": 0},
    "so many steps": {"max_epochs": -1, "max_steps": 10},
    "so many steps with validation": {"max_epochs": -1, "max_steps": 9, "val_check_interval": 0.5},
}


@pytest.mark.parametrize(
    ("kind", "hook", "count", "steps"),
    [
        ("", "train batch", 1, 1),
        ("", "train batch", 8, 8),  # in the middle of the second epoch
        ("", "train batch", 12, 12),  # its last: in the validation that follows
        ("", "val batch", 5, 12),
        ("", "val batch", 9, 18),  # the last of all
        ("", "val end", 1, 6),
        ("", "epoch end", 2, 12),
        ("", "epoch end", 3, 18),
        ("two batches a step", "train batch", 7, 4),  # waits for the other batch
        ("two batches a step", "train batch", 8, 4),
        ("four batches a step", "train batch", 5, 2),  # the last step of an epoch has but two batches
        ("validation after three batches", "train batch", 9, 9),
        ("validation after three batches", "val batch", 6, 6),
        ("validation after three batches", "val batch", 8, 9),
        ("validation in the middle of a step", "train batch", 3, 2),
        ("validation in the middle of a step", "val batch", 5, 3),
        ("validation in the middle of a step", "val batch", 8, 5),
        ("fewer batches", "train batch", 5, 5),
        ("fewer batches", "val batch", 2, 4),
        ("validation every other epoch", "train batch", 6, 6),
        ("no validation", "train batch", 12, 12),
        ("so many steps", "train batch", 10, 10),
        ("so many steps with validation", "val batch", 8, 9),
    ],
)
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")  # of epochs without validation
def test_an_interrupted_fit_that_goes_on_equals_one_never_stopped(
    tmp_path: Path, kind: str, hook: str, count: int, steps: int
) -> None:
    settings = WHOLE[kind]
    seed(0)
    whole, after = Left(tmp_path / "whole", **settings), random_numbers()

    seed(0)
    first = Witness(hook, count, ask)
    with pytest.raises(RunInterrupted):
        Left(tmp_path / "halves", first, **settings)
    assert kept(tmp_path / "halves")["global_step"] == steps
    seed(1)
    second = Left(tmp_path / "halves", resume="last.ckpt", **settings)

    assert first.trained + second.witness.trained == whole.witness.trained
    assert second.history.rows == whole.history.rows
    assert second.trainer.callback_metrics.keys() <= whole.trainer.callback_metrics.keys()
    assert kept(tmp_path / "halves") == kept(tmp_path / "whole")
    if kind != "no validation":
        assert kept(tmp_path / "halves", "best.ckpt") == kept(tmp_path / "whole", "best.ckpt")
    if steps < whole.trainer.global_step:
        assert random_numbers() == after


class KilledError(Exception):
    """What a process that is killed does not notice."""


def die() -> None:
    raise KilledError


@pytest.mark.parametrize(
    ("settings", "count", "steps"),
    [
        ({}, 9, 8),
        ({}, 7, 6),  # saved at the start of the epoch
        ({}, 13, 12),
        ({"accumulate_grad_batches": 2}, 11, 4),
        ({"val_check_interval": 0.5}, 10, 8),
    ],
)
def test_a_killed_fit_goes_on_from_the_last_steps_that_were_saved(
    tmp_path: Path, settings: dict[str, Any], count: int, steps: int
) -> None:
    seed(0)
    whole = Left(tmp_path / "whole", every_n_steps=4, **settings)
    seed(0)
    with pytest.raises(KilledError):
        Left(tmp_path / "halves", Witness("train batch", count, die), every_n_steps=4, **settings)
    assert kept(tmp_path / "halves")["global_step"] == steps
    seed(1)
    second = Left(tmp_path / "halves", resume="last.ckpt", every_n_steps=4, **settings)
    assert second.history.rows == whole.history.rows
    assert kept(tmp_path / "halves") == kept(tmp_path / "whole")


def test_a_fit_may_be_interrupted_again_and_again(tmp_path: Path) -> None:
    seed(0)
    whole = Left(tmp_path / "whole")
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
        witness = Witness(hook, count, ask)
        with pytest.raises(RunInterrupted):
            Left(tmp_path / "parts", witness, resume)
        trained += witness.trained
        resume = "last.ckpt"
    last = Left(tmp_path / "parts", resume="last.ckpt")
    assert trained + last.witness.trained == whole.witness.trained
    assert last.history.rows == whole.history.rows
    assert kept(tmp_path / "parts") == kept(tmp_path / "whole")


def test_workers_go_on_too(tmp_path: Path) -> None:
    seed(0)
    whole = Left(tmp_path / "whole", data=examples(num_workers=2), limit_val_batches=0)
    seed(0)
    first = Witness("train batch", 8, ask)
    with pytest.raises(RunInterrupted):
        Left(tmp_path / "halves", first, data=examples(num_workers=2), limit_val_batches=0)
    second = Left(tmp_path / "halves", resume="last.ckpt", data=examples(num_workers=2), limit_val_batches=0)
    assert first.trained + second.witness.trained == whole.witness.trained
    assert kept(tmp_path / "halves") == kept(tmp_path / "whole")


def test_a_validation_that_was_broken_off_begins_anew(tmp_path: Path) -> None:
    first = Witness("val batch", 5, ask)
    with pytest.raises(RunInterrupted):
        Left(tmp_path / "run", first)
    second = Left(tmp_path / "run", resume="last.ckpt")
    assert first.validated == [6, 6, 6, 12, 12]
    assert second.witness.validated == [12, 12, 12, 18, 18, 18]


def test_a_finished_fit_trains_no_more_and_one_that_is_to_be_longer_goes_on(tmp_path: Path) -> None:
    seed(0)
    whole = Left(tmp_path / "whole", max_epochs=3)
    seed(0)
    Left(tmp_path / "run", max_epochs=2)
    assert Left(tmp_path / "run", resume="last.ckpt", max_epochs=2).witness.trained == []
    longer = Left(tmp_path / "run", resume="last.ckpt", max_epochs=3)
    assert len(longer.witness.trained) == 6
    assert longer.history.rows == whole.history.rows
    assert kept(tmp_path / "run") == kept(tmp_path / "whole")


def test_going_on_from_the_best_epoch_does_the_ones_after_it_again(tmp_path: Path) -> None:
    seed(0)
    whole = Left(tmp_path / "whole")
    seed(0)
    Left(tmp_path / "run")
    (best,) = (epoch for epoch in range(3) if kept(tmp_path / "run", "best.ckpt")["epoch"] == epoch)
    seed(1)
    again = Left(tmp_path / "run", resume="best.ckpt")
    assert len(again.witness.trained) == 6 * (2 - best)
    assert again.history.rows == whole.history.rows


def test_training_that_had_stopped_early_stays_stopped(tmp_path: Path) -> None:
    def stop() -> list[pl.Callback]:
        return [EarlyStopping("val/loss", patience=1, min_delta=100.0)]

    stopped = Left(tmp_path / "run", more=stop(), max_epochs=9)
    assert len(stopped.witness.trained) == 12
    again = Left(tmp_path / "run", resume="last.ckpt", more=stop(), max_epochs=9)
    assert again.witness.trained == []
    assert again.history.rows == stopped.history.rows


class Foreign(pl.LightningDataModule):
    """Plain loaders: they do not say how far they are."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Six batches."""
        return self._loader(24)

    def val_dataloader(self) -> DataLoader[Any]:
        """Two."""
        return self._loader(8)

    def _loader(self, count: int) -> DataLoader[Any]:
        X = torch.arange(2.0 * count).reshape(count, 2) / count
        return DataLoader(TensorDataset(X, X.sum(1, keepdim=True)), batch_size=4)


def test_plain_loaders_go_on_after_an_epoch(tmp_path: Path) -> None:
    whole = Left(tmp_path / "whole", data=Foreign())
    first = Witness("epoch end", 1, ask)
    with pytest.raises(RunInterrupted):
        Left(tmp_path / "halves", first, data=Foreign())
    second = Left(tmp_path / "halves", resume="last.ckpt", data=Foreign())
    assert first.trained + second.witness.trained == whole.witness.trained
    assert second.history.rows.keys() == whole.history.rows.keys()


def test_evaluation_of_a_checkpoint_leaves_random_numbers_and_rows_alone(tmp_path: Path) -> None:
    left = Left(tmp_path / "run")
    rows = {step: dict(row) for step, row in left.history.rows.items()}
    seed(7)
    expected = random_numbers()
    seed(7)
    left.trainer.validate(
        left.task, left.trainer.datamodule, ckpt_path=tmp_path / "run" / "checkpoints" / "last.ckpt", verbose=False
    )
    assert random_numbers() == expected
    assert {step: left.history.rows[step] for step in rows if step < 17} == {
        step: row for step, row in rows.items() if step < 17
    }


# The state of Lightning's loops, by itself.


def progress(**levels: tuple[int, int, int, int]) -> dict[str, dict[str, int]]:
    return {scope: dict(zip(LEVELS, numbers, strict=True)) for scope, numbers in levels.items()}


def loops(
    epochs: tuple[int, int, int, int],
    batches: tuple[int, int, int, int],
    in_epoch: tuple[int, int, int, int],
    is_last: bool,
    loader: dict[str, Any],
) -> dict[str, Any]:
    """As Lightning would save them."""
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


NOTHING = (0, 0, 0, 0)


@pytest.mark.parametrize(
    "epochs", [(2, 1, 1, 1), (1, 1, 1, 1), (1, 1, 1, 0)], ids=["next", "at the end", "in its end"]
)
def test_between_epochs_the_next_is_about_to_begin(epochs: tuple[int, int, int, int]) -> None:
    state = loops(epochs, (6, 6, 6, 6), (6, 6, 6, 6), True, {"epoch": 0, "position": 6})
    assert restore_loop_progress(state, steps=6, validating=False) == 0
    assert state == {
        "epoch_progress": progress(total=(2, 1, 1, 1), current=(2, 1, 1, 1)),
        "epoch_loop.batch_progress": {**progress(total=(6, 6, 6, 6), current=NOTHING), "is_last_batch": False},
        "epoch_loop.val_loop.batch_progress": {**progress(total=NOTHING, current=NOTHING), "is_last_batch": False},
        "epoch_loop.state_dict": {"_batches_that_stepped": 6},
        "state_dict": {"combined_loader": [{"epoch": 1, "position": 0}]},
    }


def test_within_an_epoch_it_goes_on_after_the_batches_that_are_done() -> None:
    state = loops((2, 2, 1, 1), (8, 8, 8, 7), (2, 2, 2, 1), False, {"epoch": 1, "position": 2})
    assert restore_loop_progress(state, steps=8, validating=False) == 1
    assert state == {
        "epoch_progress": progress(total=(2, 1, 1, 1), current=(2, 1, 1, 1)),
        "epoch_loop.batch_progress": {
            **progress(total=(8, 8, 8, 8), current=(2, 2, 2, 2)),
            "is_last_batch": False,
        },
        "epoch_loop.val_loop.batch_progress": {**progress(total=NOTHING, current=NOTHING), "is_last_batch": False},
        "epoch_loop.state_dict": {"_batches_that_stepped": 8},
        "state_dict": {"combined_loader": [{"epoch": 1, "position": 2}]},
    }


@pytest.mark.parametrize("is_last", [False, True])
def test_in_validation_it_is_to_be_done_again(is_last: bool) -> None:
    state = loops((2, 2, 1, 1), (9, 9, 9, 9), (3, 3, 3, 3), is_last, {"epoch": 1, "position": 3})
    assert restore_loop_progress(state, steps=9, validating=True) == 1
    assert state == {
        "epoch_progress": progress(total=(2, 1, 1, 1), current=(2, 1, 1, 1)),
        "epoch_loop.batch_progress": {
            **progress(total=(9, 9, 9, 9), current=(3, 3, 3, 3)),
            "is_last_batch": is_last,
        },
        "epoch_loop.val_loop.batch_progress": {
            **progress(total=(1, 1, 0, 0), current=NOTHING),
            "is_last_batch": False,
        },
        "epoch_loop.state_dict": {"_batches_that_stepped": 8},
        "state_dict": {"combined_loader": [{"epoch": 1, "position": 3}]},
    }


@pytest.mark.parametrize("loader", [{}, {"epoch": 5, "offset": 3}])
def test_the_state_of_loaders_of_others_is_theirs(loader: dict[str, Any]) -> None:
    state = loops((1, 1, 1, 1), (6, 6, 6, 6), (6, 6, 6, 6), True, dict(loader))
    restore_loop_progress(state, steps=6, validating=False)
    assert state["state_dict"] == {"combined_loader": [loader]}
    del state["state_dict"]["combined_loader"]
    restore_loop_progress(state, steps=6, validating=False)
    assert state["state_dict"] == {}
