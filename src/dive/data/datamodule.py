"""Base class of the data modules: splits are loaded once, held in memory and indexed for each batch."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dive.data.batch_sampler import ResumableBatchSampler
from dive.data.checksums import split_checksums
from dive.data.dataloader import make_dataloader
from dive.data.tensor_dataset import Batch, TensorDataset
from dive.errors import DataError

EVAL_BATCH_SIZE = 1024  # minimum: larger batches take fewer steps and change no metric


class Splits(NamedTuple):
    """The training, validation and optional test split."""

    train: TensorDataset
    val: TensorDataset
    test: TensorDataset | None = None


class InMemoryDataModule(pl.LightningDataModule, ABC):
    """Base class for data sets held in memory. Subclasses implement `load`.

    A subclass sets `name`, `num_inputs` and `num_outputs` (known before the data are loaded, because the model is
    built from them), sets `targets` to ``"numbers"`` or ``"classes"``, and implements `load`; downloads belong in
    `prepare_data`. `load` must not depend on `seed`: runs with different seeds are compared on the same data. If
    the data set can be large, `num_bytes` and `size_keys` (the config keys that determine its size) let dive
    reject the data set before the process runs out of memory.

    Args:
        batch_size: batch size over all processes.
        seed: seed of the order of the training examples.
        shuffle: reshuffle the training examples in each epoch.
        num_workers: number of worker processes; 0 is fastest for data in memory.
        worker_start: start method of the workers; None is the platform's default.

    Raises:
        ValueError: `batch_size` is below 1.
    """

    name: str
    num_inputs: int
    num_outputs: int
    targets: str
    size_keys: str = "its size"

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
        self._checksums: dict[str, str] | None = None

    @abstractmethod
    def load(self) -> Splits:
        """Read or generate the data set."""

    @property
    def splits(self) -> Splits:
        """The splits, loaded on first access."""
        if self._splits is None:
            self._splits = self.load()
        return self._splits

    @property
    def checksums(self) -> dict[str, str]:
        """The CRC-32 of each split, see `dive.data.checksums.split_checksums`; computed on first access."""
        if self._checksums is None:
            self._checksums = split_checksums(self.splits)
        return self._checksums

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes; their indices unless a subclass defines names."""
        return [str(i) for i in range(self.num_outputs)]

    def denormalize(self, values: Tensor) -> Tensor:
        """Convert targets or predictions to their original units: ``(num_examples, num_outputs)``."""
        return values

    @property
    def num_bytes(self) -> int:
        """Bytes of memory that loading takes, as far as known in advance; 0 if unknown."""
        return 0

    def setup(self, stage: str | None = None) -> None:
        """Load the splits, and move them to the trainer's device if they fit there."""
        device, (train, val, test) = self._device(), self.splits
        if device.type != "cpu" and fits_on_device(self.splits, device):
            moved = {id(part): part.to(device) for part in self.splits if part is not None}
            self._splits = Splits(moved[id(train)], moved[id(val)], moved[id(test)] if test else None)

    def _device(self) -> torch.device:
        # Worker processes cannot pass tensors of an accelerator to the main process.
        if self.trainer is None or self.num_workers > 0:
            return torch.device("cpu")
        return self.trainer.strategy.root_device

    def _dataloader(self, examples: TensorDataset, training: bool = False) -> DataLoader[Batch]:
        sampler = ResumableBatchSampler(
            len(examples),
            self.batch_size if training else max(self.batch_size, EVAL_BATCH_SIZE),
            training=training,
            shuffle=self.shuffle,
            seed=self.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            device=examples.inputs.device,
        )
        return make_dataloader(examples, sampler, self.num_workers, self.worker_start)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training split, in the order of the current epoch."""
        return self._dataloader(self.splits.train, training=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches of the validation split, in sequential order."""
        return self._dataloader(self.splits.val)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the batch if needed: the data are on the device unless they did not fit or workers load them."""
        if batch[0].device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    @property
    def has_test(self) -> bool:
        """Whether there is a test split."""
        return self.splits.test is not None

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of the test split, in sequential order.

        Raises:
            DataError: there is no such split.
        """
        if self.splits.test is None:
            raise DataError(f"{self.name} has no test split")
        return self._dataloader(self.splits.test)


def fits_on_device(splits: Splits, device: torch.device) -> bool:
    """Whether the splits take less than half of the free memory of a CUDA device; true for other devices."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * sum(part.inputs.nbytes + part.targets.nbytes for part in splits if part is not None) < free
