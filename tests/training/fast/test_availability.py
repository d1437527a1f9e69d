"""Without Lightning's private names, training falls back to Lightning's own loop, with the same results."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer import call
from tests.short_runs import train_in

import dive
from dive.runs import checkpoint_io
from dive.training.fast import availability
from dive.training.fast.epoch_loop import FastTrainingEpochLoop
from dive.training.trainer import Trainer

OVERRIDES = [
    *("model=mlp", "model.num_hiddens=[8]", "model.dropout=0.5", "data=garments", "data.num_train=200"),
    *("data.num_test=40", "data.val_size=40", "data.batch_size=32", "optimizer.momentum=0.9", "callbacks=lean"),
    *("scheduler=step", "scheduler.step_size=1", "trainer.gradient_clip_val=0.5", "trainer=cpu"),
]
TWO_EPOCHS = [*OVERRIDES, "trainer.max_epochs=2"]


@pytest.fixture
def without_epoch_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Delete a private name of Lightning; whatever imports it again fails."""
    monkeypatch.delattr("pytorch_lightning.loops.training_epoch_loop._TrainingEpochLoop")
    monkeypatch.delitem(sys.modules, "dive.training.fast.epoch_loop")
    yield
    assert "dive.training.fast.epoch_loop" not in sys.modules


def new_trainer() -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)


def test_the_installed_lightning_has_all_names() -> None:
    trainer = new_trainer()
    assert availability.missing_names(trainer) == []
    assert trainer.uses_fast_loop
    assert isinstance(trainer.fit_loop.epoch_loop, FastTrainingEpochLoop)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of two epochs with the fast loop."""
    return train_in(tmp_path_factory.mktemp("fast"), *TWO_EPOCHS).directory


def test_the_fallback_gives_the_same_weights_and_metrics_bit_for_bit(
    fast: Path,
    differences: Callable[[Path, Path], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    request.getfixturevalue("without_epoch_loop")
    fallback = dive.train(TWO_EPOCHS).directory
    assert differences(fast, fallback) == []
    weights = [
        checkpoint_io.load_checkpoint(run / "checkpoints" / "last.ckpt")["state_dict"] for run in (fast, fallback)
    ]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    message = "using Lightning's own training loop (slower, same results)"
    assert message not in (fast / "train.log").read_text()
    assert (fallback / "train.log").read_text().count(message) == 1


def test_a_run_of_the_fast_loop_can_be_resumed_with_the_fallback(
    fast: Path,
    differences: Callable[[Path, Path], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    resumed = dive.train([*OVERRIDES, "trainer.max_epochs=1"]).directory
    request.getfixturevalue("without_epoch_loop")
    dive.train([f"resume={resumed}", "trainer.max_epochs=2"])
    changed = differences(fast, resumed)
    assert [line for line in changed if "config.trainer.max_epochs" not in line] == []


@pytest.mark.parametrize("name", [*availability.OBJECTS, *availability.ATTRIBUTES])
def test_each_missing_name_is_found_and_logged(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    resolve_name, attrgetter = availability.resolve_name, availability.attrgetter

    def resolve(requested: str) -> Any:
        if requested == name:
            raise AttributeError(requested)
        return resolve_name(requested)

    def getter(requested: str) -> Any:
        return attrgetter(f"{requested}_missing" if requested == name else requested)

    monkeypatch.setattr(availability, "resolve_name", resolve)
    monkeypatch.setattr(availability, "attrgetter", getter)
    with caplog.at_level(logging.INFO, logger=availability.__name__):
        trainer = new_trainer()
    assert not trainer.uses_fast_loop
    assert type(trainer.fit_loop.epoch_loop) is _TrainingEpochLoop
    assert [record.getMessage() for record in caplog.records if record.name == availability.__name__] == [
        "using Lightning's own training loop (slower, same results): "
        f"pytorch_lightning {pl.__version__} has no {name}"
    ]


def test_changed_parameters_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_TrainingEpochLoop, "advance", lambda _self, _data_fetcher: None)
    assert availability.missing_names(new_trainer()) == [f"{availability.LOOP}.advance"]


def test_a_missing_module_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "OBJECTS", {"pytorch_lightning.no_such_module._Name": []})
    assert not new_trainer().uses_fast_loop


def test_hooks_are_kept_if_lightning_does_not_skip_those_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def call_hooks(trainer: Any, hook_name: str, *args: Any, **kwargs: Any) -> None:
        for callback in trainer.callbacks:
            getattr(callback, hook_name)(trainer, trainer.lightning_module, *args, **kwargs)

    monkeypatch.setattr(call, "_call_callback_hooks", call_hooks)
    assert availability.missing_names(new_trainer()) == ["check for hooks that are None"]
