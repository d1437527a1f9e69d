"""Models as ONNX, read by onnxruntime: `pip install -e '.[export]'`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.inspection.test_exports import EXPERIMENTS, Moody
from tests.short import shortened

from dive.errors import RunError
from dive.evaluation.export import TOLERANCE, export_onnx
from dive.tasks.task import ClassificationTask

REASON = "needs pip install -e '.[export]'"
onnx = pytest.importorskip("onnx", reason=REASON)
pytest.importorskip("onnxscript", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)


@pytest.mark.parametrize(("experiment", "says"), EXPERIMENTS)
def test_the_file_says_what_the_model_says_in_batches_of_any_size(
    experiment: str, says: str, fit: Callable[..., Any], tmp_path: Path
) -> None:
    task = fit(*shortened(experiment), "trainer.max_epochs=1").task
    inputs = task.trainer.datamodule.splits.val.inputs
    path = tmp_path / "out.onnx"
    assert f"to {says}; verified with batches of" in export_onnx(task, inputs, path)
    assert {entry.name for entry in tmp_path.glob("out*")} == {"out.onnx"}  # weights and all
    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path)
    assert [put.name for put in (*session.get_inputs(), *session.get_outputs())] == ["inputs", says]
    task.eval()
    for size in (1, 2, 7, 1000):
        batch = inputs[torch.arange(size) % len(inputs)]
        (said,) = session.run(None, {"inputs": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(said), task(batch).detach(), rtol=1e-4, atol=1e-5)


def test_a_file_that_says_something_else_is_told_and_left(tmp_path: Path) -> None:
    model = Moody(3, 2)
    model.off = 100 * TOLERANCE
    task = ClassificationTask(model, torch.nn.functional.cross_entropy, lambda p: torch.optim.SGD(p, 0.1))
    with pytest.raises(
        RunError, match=r"out.onnx: written, but its output on a batch of 1 is 0.01 off the model's$"
    ):
        export_onnx(task, torch.randn(9, 3), tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").is_file()
