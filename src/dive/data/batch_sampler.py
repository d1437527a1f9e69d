"""The order of batches: a function of seed and epoch, resumable in the middle of an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import Sampler

from dive.data.rng import named_generator


@dataclass(eq=False)
class ResumableBatchSampler(Sampler[Tensor | slice]):
    """Yields the indices of each batch of an epoch. The order of epoch e is a pure function of ``(seed, e)``.

    In distributed training, the ranks share each batch, so that together they take the same steps as a single
    process. A training batch that cannot be divided evenly is padded with its first examples; in evaluation, each
    example is used once, and a batch is a slice (a view).

    Args:
        num_examples: size of the data set.
        batch_size: batch size over all processes.
        training: sample for training; otherwise for evaluation, in sequential order.
        shuffle: use a new order in each training epoch.
        seed: seed of the order.
        rank: rank of this process.
        world_size: number of processes.
        device: device of the examples.

    Attributes:
        epoch: the epoch of the next iteration.
        start: number of batches that the next iteration skips, because they were seen before an interruption.

    Raises:
        ValueError: a batch, or the data set, has fewer examples than there are processes.
    """

    num_examples: int
    batch_size: int
    training: bool = False
    shuffle: bool = True
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    device: torch.device | None = None
    epoch: int = field(default=0, init=False)
    start: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if min(self.batch_size, self.num_examples) < self.world_size:
            raise ValueError(
                f"each batch must have at least one example per process ({self.world_size} processes), "
                f"got batch_size {self.batch_size} and {self.num_examples} examples"
            )

    @property
    def sampler(self) -> "ResumableBatchSampler":
        """Return itself: Lightning calls `set_epoch` of the batch sampler's `sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        offset = 0 if self.training else self.rank
        return -(-(self.num_examples - offset) // self.batch_size)

    def __iter__(self) -> Iterator[Tensor | slice]:
        return self._training_batches(self.start) if self.training else self._evaluation_slices()

    def _evaluation_slices(self) -> Iterator[slice]:
        for start in range(self.rank, self.num_examples, self.batch_size):
            stop = min(start - self.rank + self.batch_size, self.num_examples)
            yield slice(start, stop, self.world_size)

    def _training_batches(self, start: int) -> Iterator[Tensor]:
        order = torch.arange(self.num_examples)
        if self.shuffle:
            order = torch.randperm(self.num_examples, generator=named_generator("order", self.seed, self.epoch))
        for batch in order.to(self.device).split(self.batch_size)[start:]:
            if self.world_size > 1:
                padded = len(batch) + -len(batch) % self.world_size
                batch = batch[torch.arange(self.rank, padded, self.world_size, device=self.device) % len(batch)]
            yield batch
