"""A trained model as a file for other programs, read again and compared with the model."""

import copy
import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from dive.errors import RunError
from dive.runs.atomic_io import atomic_write
from dive.tasks.task import ClassificationTask, Task
from dive.visualization.predictions import class_probabilities, preprocess_inputs

BATCHES = (1, 3, 64)  # sizes with which a file is tried
TOLERANCE = 1e-4  # of the largest number that the model says; some digits more where it has few
ONNX = ("onnx", "onnxruntime", "onnxscript")


def export_torch(task: Task, inputs: Tensor, path: Path) -> str:
    """Write a task's model for `torch.export.load`: in evaluation mode, for batches of any size.

    The file holds what the model itself returns, see `output_semantics`.

    Args:
        task: with the model.
        inputs: real examples, ``(num_examples, ...)``.
        path: of the file, ``.pt2``.

    Returns:
        What was written, in a line.

    Raises:
        RunError: the file does not say what the model says.
    """
    model, inputs = _alone(task), preprocess_inputs(inputs, task)
    content = io.BytesIO()
    torch.export.save(torch.export.export(model, (_several(inputs, 2),), dynamic_shapes=_any_batch()), content)
    atomic_write(path, content.getbuffer())
    return _tell(task, path, inputs, _difference(model, inputs, path, torch.export.load(path).module()))


def export_onnx(task: Task, inputs: Tensor, path: Path) -> str:
    """Write a task's model as ONNX, with its weights: in evaluation mode, for batches of any size.

    The input is called ``inputs``; the output is what the model itself returns, and called by its `output_semantics`.

    Args:
        task: with the model.
        inputs: real examples, ``(num_examples, ...)``.
        path: of the file, ``.onnx``.

    Returns:
        What was written, in a line.

    Raises:
        RunError: packages are missing, or the file does not say what the model says.
    """
    require_onnx()
    import onnxruntime

    model, inputs = _alone(task), preprocess_inputs(inputs, task)
    program = torch.onnx.export(
        model,
        (_several(inputs, 2),),
        dynamo=True,
        dynamic_shapes=_any_batch(),
        input_names=["inputs"],
        output_names=[output_semantics(task)],
        verbose=False,
    )
    assert program is not None
    atomic_write(path, program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(batch: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"inputs": batch.numpy()})[0])

    return _tell(task, path, inputs, _difference(model, inputs, path, run))


def require_onnx() -> None:
    """Refuse where a package that writes or reads ONNX is missing.

    Raises:
        RunError: it says what to install.
    """
    if missing := [name for name in ONNX if find_spec(name) is None]:
        raise RunError(f"{', '.join(missing)}: not installed, and ONNX needs it: pip install -e '.[export]'")


def output_semantics(task: Task) -> str:
    """What a task's model returns: ``logits``, ``probabilities`` or ``numbers``."""
    if isinstance(task, ClassificationTask):
        said = torch.zeros(1, 1)
        return "probabilities" if class_probabilities(task, said) is said else "logits"  # softmax copies
    return task.targets


def _alone(task: Task) -> nn.Module:
    # A copy is not compiled, and what is done to it is not done to the task.
    return copy.deepcopy(task.model).cpu().eval()


def _any_batch() -> tuple[dict[int, torch.export.Dim]]:
    return ({0: torch.export.Dim("batch")},)


def _several(inputs: Tensor, number: int) -> Tensor:
    # Of a set that has fewer, again from the first.
    return inputs[torch.arange(number) % len(inputs)].cpu()


@torch.no_grad()
def _difference(model: nn.Module, inputs: Tensor, path: Path, read_again: Callable[[Tensor], Tensor]) -> float:
    largest = 0.0
    for size in BATCHES:
        batch = _several(inputs, size)
        expected, found = model(batch), read_again(batch)
        if found.shape != expected.shape:
            raise RunError(
                f"{path}: left there, but wrong: it says {tuple(found.shape)}, not {tuple(expected.shape)}"
            )
        difference = float((found - expected).abs().max())
        allowed = max(TOLERANCE, 4 * torch.finfo(expected.dtype).eps)
        if not difference <= allowed * max(1.0, float(expected.abs().max())):
            raise RunError(
                f"{path}: left there, but wrong: on a batch of {size} it is {difference:.3g} off the model"
            )
        largest = max(largest, difference)
    return largest


def _tell(task: Task, path: Path, inputs: Tensor, difference: float) -> str:
    shape = ", ".join(["batch", *map(str, inputs.shape[1:])])
    sizes = ", ".join(map(str, BATCHES))
    return f"{path}: ({shape}) to {output_semantics(task)}; read again, at most {difference:.1g} off, in batches of {sizes}"
