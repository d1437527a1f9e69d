"""Exported programs return what the model returns, on real examples; otherwise an error is raised."""

from pathlib import Path

import pytest
import torch
from tests.short_runs import FEW_IMAGES
from torch import Tensor, nn

from dive.config.compose import compose_resolved
from dive.errors import RunError
from dive.evaluation import export
from dive.evaluation.export import TOLERANCE, export_torch, output_semantics, require_onnx
from dive.tasks.task import ClassificationTask
from dive.training.instantiate import instantiate_datamodule, instantiate_task

EXPERIMENTS = [
    ("dropout", "logits"),
    ("mlp_scratch", "logits"),
    ("softmax_regression_scratch", "probabilities"),
    ("linear_regression_scratch", "numbers"),
    ("house_tiny", "numbers"),  # a single row to validate on
]


def classification(model: nn.Module) -> ClassificationTask:
    return ClassificationTask(model, nn.functional.cross_entropy, lambda p: torch.optim.SGD(p, 0.1))


@pytest.mark.parametrize(("experiment", "semantics"), EXPERIMENTS)
def test_the_exported_program_equals_the_model_for_batches_of_any_size(
    experiment: str, semantics: str, tmp_path: Path
) -> None:
    images = () if semantics == "numbers" else FEW_IMAGES
    config = compose_resolved(f"experiment={experiment}", *images)
    data = instantiate_datamodule(config)
    data.prepare_data()
    task, inputs = instantiate_task(config, data), data.splits.val.inputs
    task.train()
    summary = export_torch(task, inputs, tmp_path / "out.pt2")
    assert f"to {semantics}; verified with batches of" in summary
    assert task.training  # unchanged
    task.eval()
    exported = torch.export.load(tmp_path / "out.pt2").module()
    for size in (1, 2, 7, 1000):
        batch = inputs[torch.arange(size) % len(inputs)]
        torch.testing.assert_close(exported(batch), task(batch), rtol=1e-4, atol=1e-5)


def test_the_file_contains_the_weights(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    export_torch(classification(model), torch.randn(4, 2), tmp_path / "out.pt2")
    weight, bias = model.weight.detach().clone(), model.bias.detach().clone()
    nn.init.zeros_(model.weight)
    x = torch.randn(5, 2)
    torch.testing.assert_close(torch.export.load(tmp_path / "out.pt2").module()(x), x @ weight.T + bias)


def test_a_compiled_model_can_be_exported(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    model.compile(backend="eager")
    model(torch.randn(4, 2))
    assert "verified" in export_torch(classification(model), torch.randn(4, 2), tmp_path / "out.pt2")
    assert model._compiled_call_impl is not None


class Deviating(nn.Linear):
    """Returns other outputs when it is not being exported."""

    offset: float = 0.0

    def forward(self, X: Tensor) -> Tensor:
        """Logits, plus the offset unless exporting."""
        return super().forward(X) + (0.0 if torch.compiler.is_exporting() else self.offset)


@pytest.mark.parametrize(("offset", "fails"), [(100 * TOLERANCE, True), (0.1 * TOLERANCE, False)])
def test_a_deviating_program_is_an_error_and_the_file_is_kept(offset: float, fails: bool, tmp_path: Path) -> None:
    model = Deviating(3, 2)
    model.offset = offset
    task = classification(model)
    path = tmp_path / "out.pt2"
    if not fails:
        assert "verified with batches of 1, 3, 64, maximum difference" in export_torch(
            task, torch.randn(9, 3), path
        )
        return
    with pytest.raises(
        RunError, match=r"out.pt2: written, but its output on a batch of 1 differs from the model's by 0.01$"
    ):
        export_torch(task, torch.randn(9, 3), path)
    assert path.is_file()


class Truncating(nn.Linear):
    """Returns one column too few when it is not being exported."""

    def forward(self, X: Tensor) -> Tensor:
        """All logits, or only the first."""
        logits = super().forward(X)
        return logits if torch.compiler.is_exporting() else logits[:, :1]


def test_another_output_shape_is_an_error(tmp_path: Path) -> None:
    task = classification(Truncating(3, 2))
    with pytest.raises(RunError, match=r"its output has shape \(1, 2\), not \(1, 1\)"):
        export_torch(task, torch.randn(9, 3), tmp_path / "out.pt2")


def test_nan_is_a_deviation(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    nn.init.constant_(model.weight, torch.nan)
    task = classification(model)
    assert output_semantics(task) == "logits"
    with pytest.raises(RunError, match="differs from the model's by nan"):
        export_torch(task, torch.randn(9, 3), tmp_path / "out.pt2")


def test_without_onnx_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(RunError, match=r"^onnxruntime: not installed, .* pip install -e '.\[export\]'$"):
        require_onnx()
