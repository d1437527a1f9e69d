"""DataLoader that can resume in the middle of an epoch."""

import math
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from dive.data.batch_sampler import ResumableBatchSampler
from dive.data.rng import named_generator
from dive.data.tensor_dataset import Batch, TensorDataset
from dive.errors import RunError
from dive.lazy.private_api import worker_sentinels
from dive.runs.signals import GRACE_PERIOD_S

WORKER_CHECK_INTERVAL_S = 1.0  # how long to wait for a worker's exit after its connection broke


class ResumableDataLoader(DataLoader[Batch]):
    """A DataLoader for whole batches that can resume in the middle of an epoch.

    Lightning saves its state in checkpoints, and requests a batch only after training on the previous one. Worker
    seeds depend only on seed and epoch, and do not advance the global random number generators. Without workers,
    batches are taken directly from the data set: torch's overhead per batch is as large as the forward pass of a
    small model.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # not torch's iterator type
        sampler = self._resumable_sampler()
        self.generator = named_generator("workers", sampler.seed, sampler.epoch)
        self._epoch, self._position = sampler.epoch, sampler.start
        if self.num_workers > 0:
            with sigint_blocked():
                batches = self._load_in_workers(super().__iter__())
        else:
            batches = self._load_in_process(iter(sampler))
        sampler.start = 0
        return batches

    def _load_in_process(self, sampler: Iterator[Tensor | slice]) -> Iterator[Batch]:
        assert isinstance(self.dataset, TensorDataset)
        for indices in sampler:
            self._position += 1
            yield self.dataset.__getitems__(indices)

    def _load_in_workers(self, batches: Any) -> Iterator[Batch]:
        try:
            for batch in batches:
                self._position += 1
                yield batch
        except (RuntimeError, OSError, EOFError) as error:
            # The connection to a dying worker may break before the operating system reports its exit.
            if not wait(worker_sentinels(batches), timeout=WORKER_CHECK_INTERVAL_S):
                raise
            raise RunError(
                f"a worker of the data loader has died (data.num_workers={self.num_workers}): out of memory?"
            ) from error

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of its batches that have been returned."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Start the next iteration at the saved epoch and position."""
        sampler = self._resumable_sampler()
        sampler.epoch, sampler.start = state["epoch"], state["position"]

    def _resumable_sampler(self) -> ResumableBatchSampler:
        assert isinstance(self.batch_sampler, ResumableBatchSampler)
        return self.batch_sampler


def make_dataloader(
    examples: TensorDataset, sampler: ResumableBatchSampler, num_workers: int = 0, worker_start: str | None = None
) -> DataLoader[Batch]:
    """Create the data loader of a data set; `worker_start` None is the platform's default."""
    return ResumableDataLoader(
        examples,
        batch_sampler=sampler,  # type: ignore[arg-type]  # yields tensors or slices instead of lists
        collate_fn=identity_collate,  # type: ignore[arg-type]  # takes a batch instead of a list of examples
        num_workers=num_workers,
        multiprocessing_context=worker_start if num_workers > 0 else None,
        worker_init_fn=worker_init,
        persistent_workers=num_workers > 0,
    )


@contextmanager
def sigint_blocked() -> Iterator[None]:
    """Block SIGINT here and in processes started here, which Ctrl-C could otherwise end before `worker_init`."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def worker_init(_: int) -> None:
    """Ignore SIGINT and delay SIGTERM in workers: the main process saves a checkpoint, then terminates them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # kills a worker that is still alive after the grace period
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(math.ceil(GRACE_PERIOD_S)))


def identity_collate(batch: Batch) -> Batch:
    """Return the batch unchanged: the data set returns whole batches."""
    return batch
