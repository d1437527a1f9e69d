"""Export a trained model for other programs, and verify the file against the model."""

import copy
import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from dive.errors import RunError
from dive.runs.atomic_io import atomic_write
from dive.tasks.task import ClassificationTask, Task
from dive.visualization.predictions import class_probabilities, preprocess_inputs

BATCH_SIZES = (1, 3, 64)  # batch sizes with which an exported file is verified
TOLERANCE = 1e-4  # relative to the largest output of the model; more in low precision, see `_max_difference`
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def export_torch(task: Task, inputs: Tensor, path: Path) -> str:
    """Export a task's model for `torch.export.load`: in evaluation mode, for batches of any size.

    The exported program returns what the model itself returns, see `output_semantics`.

    Args:
        task: the task with the model.
        inputs: real examples, ``(num_examples, ...)``, with which the file is verified.
        path: path of the file to write.

    Returns:
        A one-line summary.

    Raises:
        RunError: the outputs of the exported program differ from the model's.
    """
    model, inputs = _copy_model(task), preprocess_inputs(inputs, task)
    content = io.BytesIO()
    torch.export.save(torch.export.export(model, (_batch(inputs, 2),), dynamic_shapes=_dynamic_shapes()), content)
    atomic_write(path, content.getbuffer())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")  # torch 2.11 about its own buffer
        loaded = torch.export.load(path).module()
    return _summary(task, path, inputs, _max_difference(model, inputs, path, loaded))


def export_onnx(task: Task, inputs: Tensor, path: Path) -> str:
    """Export a task's model as ONNX with its weights, like `export_torch`.

    The input is named ``inputs``, the output is named by `output_semantics`.

    Raises:
        RunError: packages are missing, or the outputs of the exported program differ from the model's.
    """
    require_onnx()
    import onnxruntime

    model, inputs = _copy_model(task), preprocess_inputs(inputs, task)
    program = torch.onnx.export(
        model,
        (_batch(inputs, 2),),
        dynamo=True,
        dynamic_shapes=_dynamic_shapes(),
        input_names=["inputs"],
        output_names=[output_semantics(task)],
        verbose=False,
    )
    assert program is not None
    atomic_write(path, program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(batch: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"inputs": batch.numpy()})[0])

    return _summary(task, path, inputs, _max_difference(model, inputs, path, run))


def require_onnx() -> None:
    """Check that the packages which write and read ONNX are installed.

    Raises:
        RunError: one is missing; the message says what to install.
    """
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise RunError(f"{', '.join(missing)}: not installed, required by ONNX: pip install -e '.[export]'")


def output_semantics(task: Task) -> str:
    """What a task's model returns: ``logits``, ``probabilities`` or ``numbers``."""
    if isinstance(task, ClassificationTask):
        outputs = torch.zeros(1, 1)
        # Logits are converted.
        return "probabilities" if class_probabilities(task, outputs) is outputs else "logits"
    return task.targets


def _copy_model(task: Task) -> nn.Module:
    # The copy is not compiled, and the task stays unchanged.
    return copy.deepcopy(task.model).cpu().eval()


def _dynamic_shapes() -> tuple[dict[int, torch.export.Dim]]:
    return ({0: torch.export.Dim("batch")},)


def _batch(inputs: Tensor, size: int) -> Tensor:
    # Repeats examples if there are fewer.
    return inputs[torch.arange(size) % len(inputs)].cpu()


@torch.no_grad()
def _max_difference(model: nn.Module, inputs: Tensor, path: Path, exported: Callable[[Tensor], Tensor]) -> float:
    largest = 0.0
    for size in BATCH_SIZES:
        batch = _batch(inputs, size)
        expected, actual = model(batch), exported(batch)
        if actual.shape != expected.shape:
            raise RunError(
                f"{path}: written, but its output has shape {tuple(actual.shape)}, not {tuple(expected.shape)}"
            )
        difference = float((actual - expected).abs().max())
        tolerance = max(TOLERANCE, 4 * torch.finfo(expected.dtype).eps)
        if not difference <= tolerance * max(1.0, float(expected.abs().max())):
            raise RunError(
                f"{path}: written, but its output on a batch of {size} differs from the model's "
                f"by {difference:.3g}"
            )
        largest = max(largest, difference)
    return largest


def _summary(task: Task, path: Path, inputs: Tensor, difference: float) -> str:
    shape = ", ".join(["batch", *map(str, inputs.shape[1:])])
    sizes = ", ".join(map(str, BATCH_SIZES))
    return (
        f"{path}: ({shape}) to {output_semantics(task)}; "
        f"verified with batches of {sizes}, maximum difference {difference:.1g}"
    )
