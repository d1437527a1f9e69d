"""Models as files of torch.export: they say what the model says, on real examples, or the file is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.short import shortened
from torch import Tensor, nn

from dive.errors import RunError
from dive.evaluation import export
from dive.evaluation.export import TOLERANCE, export_torch, output_semantics, require_onnx
from dive.tasks.task import ClassificationTask

EXPERIMENTS = [
    ("mlp", "logits"),
    ("dropout", "logits"),
    ("mlp_scratch", "logits"),
    ("softmax_regression_scratch", "probabilities"),
    ("linear_regression_scratch", "numbers"),
    ("house_tiny", "numbers"),  # a single row to validate on
]


@pytest.mark.parametrize(("experiment", "says"), EXPERIMENTS)
def test_the_file_says_what_the_model_says_in_batches_of_any_size(
    experiment: str, says: str, fit: Callable[..., Any], tmp_path: Path
) -> None:
    task = fit(*shortened(experiment), "trainer.max_epochs=1").task
    task.train()
    inputs = task.trainer.datamodule.splits.val.inputs
    told = export_torch(task, inputs, tmp_path / "out.pt2")
    assert f"to {says}; read again" in told
    assert task.training  # it is as it was
    task.eval()
    read = torch.export.load(tmp_path / "out.pt2").module()
    for size in (1, 2, 7, 1000):
        batch = inputs[torch.arange(size) % len(inputs)]
        torch.testing.assert_close(read(batch), task(batch), rtol=1e-4, atol=1e-5)


def test_the_file_has_the_weights_and_needs_no_model(fit: Callable[..., Any], tmp_path: Path) -> None:
    task = fit("experiment=linear_regression", "trainer.max_epochs=1").task
    export_torch(task, torch.randn(4, 2), tmp_path / "out.pt2")
    weight, bias = task.model.net.weight.detach().clone(), task.model.net.bias.detach().clone()
    nn.init.zeros_(task.model.net.weight)
    x = torch.randn(5, 2)
    torch.testing.assert_close(torch.export.load(tmp_path / "out.pt2").module()(x), x @ weight.T + bias)


def test_a_compiled_model_is_written_as_it_is(fit: Callable[..., Any], tmp_path: Path) -> None:
    task = fit("experiment=linear_regression", "trainer.compile={backend: eager}", "trainer.max_epochs=1").task
    assert "read again" in export_torch(task, torch.randn(4, 2), tmp_path / "out.pt2")
    assert task.model._compiled_call_impl is not None


class Moody(nn.Linear):
    """Says something else when it is not being written down."""

    off: float = 0.0

    def forward(self, X: Tensor) -> Tensor:
        """Logits, and something more."""
        return super().forward(X) + (0.0 if torch.compiler.is_exporting() else self.off)


@pytest.mark.parametrize(("off", "wrong"), [(100 * TOLERANCE, True), (0.1 * TOLERANCE, False)])
def test_a_file_that_says_something_else_is_told_and_left(off: float, wrong: bool, tmp_path: Path) -> None:
    model = Moody(3, 2)
    model.off = off
    task = ClassificationTask(model, nn.functional.cross_entropy, lambda p: torch.optim.SGD(p, 0.1))
    path = tmp_path / "out.pt2"
    if not wrong:
        assert "off, in batches of 1, 3, 64" in export_torch(task, torch.randn(9, 3), path)
        return
    with pytest.raises(
        RunError, match=r"out.pt2: left there, but wrong: on a batch of 1 it is 0.01 off the model$"
    ):
        export_torch(task, torch.randn(9, 3), path)
    assert path.is_file()


class Folded(nn.Linear):
    """Says one row too few when it is not being written down."""

    def forward(self, X: Tensor) -> Tensor:
        """All logits, or the first alone."""
        said = super().forward(X)
        return said if torch.compiler.is_exporting() else said[:, :1]


def test_a_file_whose_outputs_have_another_shape_is_told(tmp_path: Path) -> None:
    task = ClassificationTask(Folded(3, 2), nn.functional.cross_entropy, lambda p: torch.optim.SGD(p, 0.1))
    with pytest.raises(RunError, match=r"it says \(1, 2\), not \(1, 1\)"):
        export_torch(task, torch.randn(9, 3), tmp_path / "out.pt2")


def test_nan_is_not_taken_for_equal(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, torch.nan)
    task = ClassificationTask(model, nn.functional.cross_entropy, lambda p: torch.optim.SGD(p, 0.1))
    assert output_semantics(task) == "logits"
    with pytest.raises(RunError, match="is nan off"):
        export_torch(task, torch.randn(9, 3), tmp_path / "out.pt2")


def test_without_onnx_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(RunError, match=r"^onnxruntime: not installed, .* pip install -e '.\[export\]'$"):
        require_onnx()
