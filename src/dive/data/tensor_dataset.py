"""A data set as tensors in memory, and the order in which its examples are seen."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from dive.data.rng import named_generator

Batch = tuple[Tensor, Tensor]


class TensorDataset(Dataset[Batch]):
    """Examples held as whole tensors, so that a batch is one indexing operation.

    Args:
        inputs: ``(num_examples, ...)``.
        targets: ``(num_examples, ...)``.

    Raises:
        ValueError: there are no examples, or not as many inputs as targets.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        if len(inputs) != len(targets) or len(inputs) == 0:
            raise ValueError(
                f"inputs and targets must be as many, and at least one, got {len(inputs)} and {len(targets)}"
            )
        self.inputs = inputs
        self.targets = targets

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Batch:
        return self.inputs[index], self.targets[index]

    def __getitems__(self, indices: Tensor | slice) -> Batch:
        """One batch; `torch.utils.data.DataLoader` calls this instead of asking for one example at a time."""
        return self.inputs[indices], self.targets[indices]

    def to(self, device: torch.device) -> "TensorDataset":
        """The same set on a device."""
        return TensorDataset(self.inputs.to(device), self.targets.to(device))


class ResumableBatchSampler(Sampler[Tensor | slice]):
    """The batches of one epoch, as indices. The order of epoch e is a pure function of ``(seed, e)``.

    Among several processes, each batch is divided, so that together they take the very steps that one process
    would take alone. A training batch that cannot be divided evenly repeats its first examples to fill up; in
    evaluation each example comes once, and a batch is a slice (a view).

    Args:
        num_examples: size of the set.
        batch_size: examples of a batch, over all processes.
        training: for training; else for evaluation, in the order of the set.
        shuffle: draw a new order each training epoch.
        seed: of the order.
        rank: of this process.
        world_size: number of processes.
        device: where the examples lie.

    Attributes:
        epoch: whose order the next iteration follows.
        start: batches that the next iteration leaves out, since they were seen before an interruption.

    Raises:
        ValueError: a batch, or the set, has fewer examples than there are processes.
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        training: bool = False,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | None = None,
    ) -> None:
        if min(batch_size, num_examples) < world_size:
            raise ValueError(
                f"each of {world_size} processes needs an example of each batch, "
                f"got batch_size {batch_size} and {num_examples} examples"
            )
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.training = training
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.device = device
        self.epoch = 0
        self.start = 0

    @property
    def sampler(self) -> "ResumableBatchSampler":
        """Itself: where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        unseen = 0 if self.training else self.rank
        return -(-(self.num_examples - unseen) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor | slice]:
        return self._training_batches(self.start) if self.training else self._slices()

    def _slices(self) -> Iterator[slice]:
        for start in range(self.rank, self.num_examples, self.batch_size):
            stop = min(start - self.rank + self.batch_size, self.num_examples)
            yield slice(start, stop, self.world_size)

    def _training_batches(self, start: int) -> Iterator[Tensor]:
        order = torch.arange(self.num_examples)
        if self.shuffle:
            order = torch.randperm(self.num_examples, generator=named_generator("order", self.seed, self.epoch))
        for batch in order.to(self.device).split(self.batch_size)[start:]:
            if self.world_size > 1:
                filled = len(batch) + -len(batch) % self.world_size
                batch = batch[torch.arange(self.rank, filled, self.world_size, device=self.device) % len(batch)]
            yield batch
