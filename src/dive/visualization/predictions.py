"""What a model says of a whole set of examples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dive.data.tensor_dataset import TensorDataset
from dive.tasks.losses import cross_entropy
from dive.tasks.task import ClassificationTask, Task


@torch.no_grad()
def predict_outputs(task: Task, inputs: Tensor, batch_size: int = 1024) -> Tensor:
    """What a task's model says, in evaluation mode; afterwards it is in the mode it was in.

    Args:
        task: on any device.
        inputs: ``(num_examples, ...)``, on any device, in any precision.
        batch_size: examples at a time.

    Returns:
        ``(num_examples, num_outputs)``, on the processor, in float32 at least.
    """
    training = task.training
    task.eval()
    try:
        # A compiled model with CUDA graphs puts the next outputs into the same memory: copied before.
        batches = (preprocess_inputs(batch, task).to(task.device) for batch in inputs.split(batch_size))
        said = torch.cat([task(batch).cpu() for batch in batches])
        return said.to(torch.promote_types(said.dtype, torch.float32))
    finally:
        task.train(training)


def preprocess_inputs(inputs: Tensor, task: Task) -> Tensor:
    """Inputs in the precision of a task's model: ``trainer.precision=bf16-true`` is another than theirs."""
    # Not `task.dtype`: the model may have been converted without the task.
    weights = next((weights for weights in task.parameters() if weights.is_floating_point()), None)
    return inputs if weights is None or not inputs.is_floating_point() else inputs.to(weights.dtype)


def probabilities(task: ClassificationTask, said: Tensor) -> Tensor:
    """Of each class: what the model says, where our own cross-entropy is the loss; else its softmax.

    Args:
        task: whose model it is.
        said: ``(num_examples, num_classes)``; so is what is returned.
    """
    says_probabilities = getattr(task.loss, "func", task.loss) is cross_entropy
    return said if says_probabilities else said.softmax(1)


@dataclass(frozen=True)
class Predictions:
    """What a classifier says of examples.

    Args:
        inputs: ``(num_examples, ...)``.
        targets: their classes, ``(num_examples,)``.
        probabilities: of each class, ``(num_examples, num_classes)``.
    """

    inputs: Tensor
    targets: Tensor
    probabilities: Tensor

    @property
    def predicted(self) -> Tensor:
        """The likeliest class of each, ``(num_examples,)``."""
        return self.probabilities.argmax(1)

    def most_confident_errors(self, most: int) -> Tensor:
        """Indices of wrong ones, the most confident first, ``(at most `most`,)``."""
        confidence, predicted = self.probabilities.max(1)
        wrong = (predicted != self.targets).nonzero().flatten()
        return wrong[confidence[wrong].argsort(descending=True, stable=True)][:most]

    def confusion(self) -> Tensor:
        """How many of each class are taken for each: ``(num_classes, num_classes)``, a row a true class."""
        classes = self.probabilities.shape[1]
        pairs = self.targets * classes + self.predicted
        return pairs.bincount(minlength=classes**2).reshape(classes, classes)


def predict(task: ClassificationTask, examples: TensorDataset) -> Predictions:
    """Classify a set.

    Args:
        task: on any device.
        examples: likewise.
    """
    said = probabilities(task, predict_outputs(task, examples.inputs))
    return Predictions(examples.inputs.cpu(), examples.targets.cpu(), said)
