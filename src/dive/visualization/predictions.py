"""Predictions of a model on a set of examples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dive.data.tensor_dataset import TensorDataset
from dive.tasks.losses import cross_entropy
from dive.tasks.task import ClassificationTask, Task


@torch.no_grad()
def predict_outputs(task: Task, inputs: Tensor, batch_size: int = 1024) -> Tensor:
    """Run the model in evaluation mode; its mode is restored afterwards.

    Args:
        task: the task, on any device.
        inputs: ``(num_examples, ...)``, on any device, in any precision.
        batch_size: number of examples per batch.

    Returns:
        ``(num_examples, num_outputs)``, on the CPU, in float32 or higher precision.
    """
    training = task.training
    task.eval()
    try:
        # Copied batch by batch: a compiled model with CUDA graphs overwrites the memory with the next outputs.
        batches = (preprocess_inputs(batch, task).to(task.device) for batch in inputs.split(batch_size))
        outputs = torch.cat([task(batch).cpu() for batch in batches])
        return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    finally:
        task.train(training)


def preprocess_inputs(inputs: Tensor, task: Task) -> Tensor:
    """Convert inputs to the precision of the model, which may differ, as with ``trainer.precision=bf16-true``."""
    # Not `task.dtype`: the model may have been converted without the task.
    weights = next((weights for weights in task.parameters() if weights.is_floating_point()), None)
    return inputs if weights is None or not inputs.is_floating_point() else inputs.to(weights.dtype)


def class_probabilities(task: ClassificationTask, outputs: Tensor) -> Tensor:
    """The outputs themselves if the loss is dive's `cross_entropy`, which takes probabilities; else their softmax.

    Outputs and result have shape ``(num_examples, num_classes)``.
    """
    takes_probabilities = getattr(task.loss, "func", task.loss) is cross_entropy
    return outputs if takes_probabilities else outputs.softmax(1)


@dataclass(frozen=True)
class Predictions:
    """Predictions of a classifier.

    Args:
        inputs: ``(num_examples, ...)``.
        targets: true classes, ``(num_examples,)``.
        probabilities: probability of each class, ``(num_examples, num_classes)``.
    """

    inputs: Tensor
    targets: Tensor
    probabilities: Tensor

    @property
    def predicted(self) -> Tensor:
        """The most probable class of each example, ``(num_examples,)``."""
        return self.probabilities.argmax(1)

    def most_confident_errors(self, limit: int) -> Tensor:
        """Indices of misclassified examples, most confident first, ``(at most limit,)``."""
        confidence, predicted = self.probabilities.max(1)
        wrong = (predicted != self.targets).nonzero().flatten()
        return wrong[confidence[wrong].argsort(descending=True, stable=True)][:limit]

    def confusion_matrix(self) -> Tensor:
        """Counts of each pair of true class (row) and predicted class (column), ``(num_classes, num_classes)``."""
        classes = self.probabilities.shape[1]
        pairs = self.targets * classes + self.predicted
        return pairs.bincount(minlength=classes**2).reshape(classes, classes)


def predict(task: ClassificationTask, examples: TensorDataset) -> Predictions:
    """Classify a set of examples; task and examples may be on any device."""
    probabilities = class_probabilities(task, predict_outputs(task, examples.inputs))
    return Predictions(examples.inputs.cpu(), examples.targets.cpu(), probabilities)
