"""What all data modules share: splits held in memory, loaded once, batched by indexing."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dive.data.dataloader import make_dataloader
from dive.data.tensor_dataset import Batch, ResumableBatchSampler, TensorDataset
from dive.errors import DataError

EVAL_BATCH_SIZE = 1024  # at least: larger batches change no metric, and take fewer steps


class Splits(NamedTuple):
    """The examples to train on, to validate on, and to test on where there are any."""

    train: TensorDataset
    val: TensorDataset
    test: TensorDataset | None = None


class InMemoryDataModule(pl.LightningDataModule, ABC):
    """Splits in memory. What to load is all that subclasses add.

    A subclass sets `name`, `num_inputs` and `num_outputs` (known before anything is loaded: the model is built
    from them), says whether its `targets` are ``"numbers"`` or ``"classes"``, and writes `load`; `prepare_data` is
    the place for a download. Where a set can be large, `num_bytes` and `sized_by` (the keys that size it) have it
    refused before it is too large for the memory.

    Args:
        batch_size: examples of a batch, over all processes.
        seed: of the order of the training examples, and of whatever `load` draws.
        shuffle: show the training examples in a new order each epoch.
        num_workers: processes that make batches; 0 is fastest for sets in memory.
        worker_start: how these are started; None is the system's way.

    Raises:
        ValueError: `batch_size` is below 1.
    """

    name: str
    num_inputs: int
    num_outputs: int
    targets: str
    sized_by: str = "it"

    def __init__(
        self,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        num_workers: int = 0,
        worker_start: Literal["fork", "forkserver", "spawn"] | None = None,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.num_workers = num_workers
        self.worker_start = worker_start
        self._splits: Splits | None = None

    @abstractmethod
    def load(self) -> Splits:
        """Read or draw the set."""

    @property
    def splits(self) -> Splits:
        """The set, loaded at the first call."""
        if self._splits is None:
            self._splits = self.load()
        return self._splits

    @property
    def class_names(self) -> Sequence[str]:
        """What classes are called: their numbers, where a set has no names for them."""
        return [str(i) for i in range(self.num_outputs)]

    def denormalize(self, values: Tensor) -> Tensor:
        """Targets, or predictions of them, in the units of their source: ``(num_examples, num_outputs)``."""
        return values

    @property
    def num_bytes(self) -> int:
        """What the set will take in memory, as far as that is known before it is loaded."""
        return 0

    def setup(self, stage: str | None = None) -> None:
        """Load the set, and put it on the trainer's device where it fits there."""
        device, (train, val, test) = self._device(), self.splits
        if device.type != "cpu" and fits_on_device(self.splits, device):
            placed = {id(part): part.to(device) for part in self.splits if part is not None}
            self._splits = Splits(placed[id(train)], placed[id(val)], placed[id(test)] if test else None)

    def _device(self) -> torch.device:
        # Worker processes cannot hand over tensors of an accelerator.
        if self.trainer is None or self.num_workers > 0:
            return torch.device("cpu")
        return self.trainer.strategy.root_device

    def _loader(self, examples: TensorDataset, training: bool = False) -> DataLoader[Batch]:
        order = ResumableBatchSampler(
            len(examples),
            self.batch_size if training else max(self.batch_size, EVAL_BATCH_SIZE),
            training=training,
            shuffle=self.shuffle,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            device=examples.inputs.device,
        )
        return make_dataloader(examples, order, self.num_workers, self.worker_start)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training split, in the order of the trainer's epoch."""
        return self._loader(self.splits.train, training=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split, in its own order."""
        return self._loader(self.splits.val)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch as it is: the set lies on the device, unless it did not fit there or workers read it."""
        if batch[0].device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    @property
    def has_test(self) -> bool:
        """Whether there is a test split."""
        return self.splits.test is not None

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split, in its own order.

        Raises:
            DataError: there is no such split.
        """
        if self.splits.test is None:
            raise DataError(f"{self.name} has no test split")
        return self._loader(self.splits.test)


def fits_on_device(splits: Splits, device: torch.device) -> bool:
    """Whether a set takes up less than half of what is free on a CUDA device; always on others."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * sum(part.inputs.nbytes + part.targets.nbytes for part in splits if part is not None) < free
