"""A model with lazy layers works in every command, and its weights decay."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dive.models
from dive import train
from dive.callbacks import ModelGraph
from dive.config.compose import compose_resolved
from dive.evaluation.evaluate import evaluate_run
from dive.evaluation.loaded_run import load_run
from dive.evaluation.reproduce import reproduce
from dive.sweeps import preflight
from dive.tasks.lazy_layers import initialize_lazy_layers
from dive.tasks.optim import split_weight_decay_params

FEW = ["model=mlp", "data=garments", "data.num_train=96", "data.num_test=32", "data.val_size=32", "trainer=cpu"]
RUN = [*FEW, "trainer.max_epochs=2", "optimizer.weight_decay=0.1"]


class LazyNet(nn.Module):
    """A convolution, a normalization and two linear layers, all lazy."""

    def __init__(self, num_inputs: int, num_outputs: int, **_: Any) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.LazyConv2d(4, 5),
            nn.LazyBatchNorm2d(),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.LazyLinear(8),
            nn.ReLU(),
            nn.LazyLinear(num_outputs),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Images ``(batch, 1, height, width)`` to logits ``(batch, num_outputs)``."""
        return self.net(inputs)


@pytest.fixture(autouse=True)
def lazy_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let `model=mlp` build the lazy model."""
    monkeypatch.setattr(LazyNet, "__module__", "dive.models.mlp")
    monkeypatch.setattr(dive.models, "MLP", LazyNet)
    monkeypatch.chdir(tmp_path)


def test_weights_decay_and_biases_do_not() -> None:
    run = train([*RUN, "callbacks=lean"])
    weights, others = run.trainer.optimizers[0].param_groups
    assert [parameter.ndim for parameter in weights["params"]] == [4, 2, 2]
    assert all(parameter.ndim == 1 for parameter in others["params"])
    assert (weights["weight_decay"], others["weight_decay"]) == (0.1, 0.0)


def test_a_lazy_model_works_in_every_command(
    capsys: pytest.CaptureFixture[str],
    differences: Callable[[Path, Path], list[str]],
    tmp_path: Path,
) -> None:
    whole = train(RUN)
    assert "model graph is not logged" not in (whole.directory / "train.log").read_text()
    assert any(isinstance(callback, ModelGraph) for callback in whole.trainer.callbacks)
    first = train([*RUN, "trainer.max_epochs=1"])
    resumed = train([f"resume={first.directory}", "trainer.max_epochs=2"])
    changed = differences(whole.directory, resumed.directory)
    assert [name for name in changed if "config.trainer.max_epochs" not in name] == []
    evaluate_run(whole.directory, predictions=tmp_path / "p.csv", torch_export=tmp_path / "model.pt2")
    assert reproduce(whole.directory, tmp_path / "again")
    assert train([*RUN, "find_lr=true", "callbacks=lean"]).result["suggested_lr"] > 0
    capsys.readouterr()


def test_jobs_of_a_sweep_are_validated_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dive.data.SyntheticGarments.load", lambda _: pytest.fail("data are loaded"))
    assert preflight.find_problems([("seed=0", compose_resolved(*RUN))]) == []


def test_a_lazy_model_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[bool] = []
    monkeypatch.setattr(LazyNet, "compile", lambda model: compiled.append(type(model.net[0]) is nn.Conv2d))
    train([*RUN, "callbacks=lean", "trainer.compile=true"])
    assert compiled == [True]


def test_initialization_changes_no_mode_and_no_statistics() -> None:
    model = LazyNet(784, 10)
    model.net[4].eval()
    initialize_lazy_layers(model, lambda: torch.ones(2, 1, 28, 28))
    assert model.training
    assert not model.net[4].training
    assert torch.equal(model.net[1].running_mean, torch.zeros(4))
    initialize_lazy_layers(model, lambda: pytest.fail("there is nothing to initialize"))


def test_an_uninitialized_model_has_no_parameters_to_decay() -> None:
    with pytest.raises(ValueError, match="lazy layers without parameters; run it on a batch first"):
        split_weight_decay_params(LazyNet(784, 10).parameters())


def test_a_lazy_model_is_loaded() -> None:
    run = train([*RUN, "callbacks=lean"])
    loaded = load_run(run.directory).task.model
    assert isinstance(loaded, LazyNet)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), run.model.parameters(), strict=True))
