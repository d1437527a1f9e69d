"""Data sets held in memory as tensors."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

Batch = tuple[Tensor, Tensor]


class TensorDataset(Dataset[Batch]):
    """Examples held as whole tensors, so that a batch is one indexing operation.

    Args:
        inputs: ``(num_examples, ...)``.
        targets: ``(num_examples, ...)``.

    Raises:
        ValueError: there are no examples, or the numbers of inputs and targets differ.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise ValueError(
                f"inputs and targets must have equal lengths of at least one, got {len(inputs)} and {len(targets)}"
            )
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Batch:
        return self.inputs[index], self.targets[index]

    def __getitems__(self, indices: Tensor | slice) -> Batch:
        """One batch; `torch.utils.data.DataLoader` calls this instead of `__getitem__` for each example."""
        return self.inputs[indices], self.targets[indices]

    def to(self, device: torch.device) -> "TensorDataset":
        """A copy of the data set on a device."""
        return TensorDataset(self.inputs.to(device), self.targets.to(device))
