"""ONNX models run by onnxruntime; requires `pip install -e '.[export]'`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.evaluation.test_export import EXPERIMENTS, Deviating
from tests.short_runs import shortened

from dive.errors import RunError
from dive.evaluation.export import TOLERANCE, export_onnx
from dive.tasks.task import ClassificationTask

REASON = "needs pip install -e '.[export]'"
onnx = pytest.importorskip("onnx", reason=REASON)
pytest.importorskip("onnxscript", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)


@pytest.mark.parametrize(("experiment", "semantics"), EXPERIMENTS)
def test_onnx_model_equals_the_model_for_batches_of_any_size(
    experiment: str, semantics: str, fit: Callable[..., Any], tmp_path: Path
) -> None:
    task = fit(*shortened(experiment), "trainer.max_epochs=1").task
    inputs = task.trainer.datamodule.splits.val.inputs
    path = tmp_path / "out.onnx"
    assert f"to {semantics}; verified with batches of" in export_onnx(task, inputs, path)
    assert {entry.name for entry in tmp_path.glob("out*")} == {"out.onnx"}  # a single file, with the weights
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["inputs", semantics]
    task.eval()
    for size in (1, 2, 7, 1000):
        batch = inputs[torch.arange(size) % len(inputs)]
        (outputs,) = session.run(None, {"inputs": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(outputs), task(batch).detach(), rtol=1e-4, atol=1e-5)


def test_deviating_onnx_model_is_an_error_and_the_file_is_kept(tmp_path: Path) -> None:
    model = Deviating(3, 2)
    model.offset = 100 * TOLERANCE
    task = ClassificationTask(model, torch.nn.functional.cross_entropy, lambda p: torch.optim.SGD(p, 0.1))
    with pytest.raises(
        RunError, match=r"out.onnx: written, but its output on a batch of 1 differs from the model's by 0.01$"
    ):
        export_onnx(task, torch.randn(9, 3), tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").is_file()
