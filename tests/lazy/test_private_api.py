"""Fallbacks for private names of Lightning and torch that a later version may lack."""

import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.summary.writer import event_file_writer
from torch import nn

from dive.lazy import private_api


def loop(**methods: Any) -> Any:
    """A trainer whose epoch loop has these methods only."""
    epoch_loop = SimpleNamespace(**{name: lambda *_, value=value: value for name, value in methods.items()})
    return SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_loop=epoch_loop, _data_fetcher=None), accumulate_grad_batches=2
    )


def test_norm_is_the_same_without_the_fused_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.randn(784, 256), torch.randn(256), torch.randn(256, 10)]
    fused = private_api.total_norm(tensors)
    monkeypatch.setattr(private_api, "torch", SimpleNamespace())  # a torch without the name
    assert torch.equal(private_api.total_norm(tensors), fused)
    assert fused.item() == pytest.approx(sum(float((t.double() ** 2).sum()) for t in tensors) ** 0.5, rel=1e-5)


def test_outputs_of_a_model_are_copied_only_if_it_is_compiled_or_that_is_unknown() -> None:
    model = nn.Linear(2, 1)
    assert not private_api.may_reuse_outputs(model)
    model.compile(backend="eager")
    assert private_api.may_reuse_outputs(model)
    assert private_api.may_reuse_outputs(SimpleNamespace())  # type: ignore[arg-type]  # a torch without the name


@pytest.mark.parametrize("accumulates", [True, False])
def test_lightning_knows_whether_gradients_are_accumulated(accumulates: bool) -> None:
    assert private_api.accumulates_gradients(loop(_should_accumulate=accumulates)) is accumulates


def test_gradients_may_be_accumulated_if_lightning_does_not_tell() -> None:
    trainer = loop()
    assert private_api.accumulates_gradients(trainer)
    trainer.accumulate_grad_batches = 1
    assert not private_api.accumulates_gradients(trainer)


@pytest.mark.parametrize(("at_end", "validates"), [(True, False), (False, True), (False, False)])
def test_lightning_knows_what_follows_a_batch(at_end: bool, validates: bool) -> None:
    trainer = loop(_num_ready_batches_reached=at_end, _should_check_val_fx=validates)
    assert private_api.is_epoch_end_or_validation_due(trainer) is (at_end or validates)


@pytest.mark.parametrize("name", ["_num_ready_batches_reached", "_should_check_val_fx"])
def test_no_checkpoint_within_an_epoch_if_lightning_does_not_tell_what_follows(name: str) -> None:
    assert private_api.is_epoch_end_or_validation_due(loop(**{name: False}))


def test_an_error_inside_of_lightning_is_not_mistaken_for_a_missing_name() -> None:
    trainer = loop(_num_ready_batches_reached=False)
    trainer.fit_loop.epoch_loop._should_check_val_fx = lambda: None  # another signature
    with pytest.raises(TypeError):
        private_api.is_epoch_end_or_validation_due(trainer)


def test_sigterm_flag_is_reset_where_lightning_has_it() -> None:
    trainer: Any = SimpleNamespace(_signal_connector=SimpleNamespace(received_sigterm=True))
    private_api.ignore_sigterm(trainer)
    assert not trainer._signal_connector.received_sigterm
    private_api.ignore_sigterm(SimpleNamespace())  # type: ignore[arg-type]  # a Lightning without the name


def test_workers_of_a_loader_are_known_or_none() -> None:
    assert private_api.worker_sentinels(SimpleNamespace(_workers=[SimpleNamespace(sentinel=3)])) == [3]
    assert private_api.worker_sentinels(object()) == []


@pytest.mark.parametrize("name", ["_restarting", "restarting"])
def test_restarting_is_cleared_in_each_loop(name: str) -> None:
    val_loop, epoch_loop = SimpleNamespace(**{name: True}), SimpleNamespace(**{name: True})
    fit_loop = SimpleNamespace(**{name: True}, epoch_loop=epoch_loop)
    epoch_loop.val_loop = val_loop
    private_api.clear_restarting(SimpleNamespace(fit_loop=fit_loop))  # type: ignore[arg-type]
    assert [getattr(loop, name) for loop in (fit_loop, epoch_loop, val_loop)] == [False] * 3


def test_event_file_has_the_current_time_if_tensorboard_does_not_read_it_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(event_file_writer, "time")
    with private_api.event_file_time(2e9):
        assert not hasattr(event_file_writer, "time")
    monkeypatch.undo()
    with private_api.event_file_time(2e9):
        writer = event_file_writer.EventFileWriter(str(tmp_path))
    writer.close()
    (path,) = tmp_path.iterdir()
    assert path.name.startswith("events.out.tfevents.2000000000.")
    assert event_file_writer.time is time


def test_compiled_code_is_kept_if_the_compiler_has_not_been_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "torch._inductor.compile_fx"
    monkeypatch.delitem(sys.modules, name, raising=False)
    assert not private_api.may_have_compiled()
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert private_api.may_have_compiled()


def test_restoring_is_unknown_if_lightning_does_not_tell() -> None:
    connector = SimpleNamespace(_loaded_checkpoint={"state_dict": {}})
    assert private_api.is_restoring(SimpleNamespace(_checkpoint_connector=connector))  # type: ignore[arg-type]
    connector._loaded_checkpoint = {}
    assert not private_api.is_restoring(SimpleNamespace(_checkpoint_connector=connector))  # type: ignore[arg-type]
    assert not private_api.is_restoring(SimpleNamespace())  # type: ignore[arg-type]


def test_loaded_training_data_are_discarded_where_lightning_keeps_them() -> None:
    trainer: Any = SimpleNamespace(fit_loop=SimpleNamespace(_combined_loader=[1]))
    private_api.discard_train_dataloader(trainer)
    assert trainer.fit_loop._combined_loader is None
    trainer = SimpleNamespace(fit_loop=SimpleNamespace())
    private_api.discard_train_dataloader(trainer)
    assert not vars(trainer.fit_loop)
