"""What hands out the batches of a set, from any place on."""

import math
import signal
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from dive.data.rng import named_generator
from dive.data.tensor_dataset import Batch, ResumableBatchSampler, TensorDataset
from dive.errors import RunError
from dive.runs.signals import GRACE_PERIOD_S

WORKER_CHECK_INTERVAL_S = 1.0  # how long the death of a process may take, from its first broken connection on


class ResumableDataLoader(DataLoader[Batch]):
    """A DataLoader that passes whole batches through, and can go on in the middle of an epoch.

    Its state is kept in checkpoints by Lightning, which asks for no batch before the one before is trained on. The
    seeds of worker processes depend on seed and epoch alone, and take nothing from the global random numbers.
    Without workers, batches come straight from the set: what torch does around each of them costs as much as the
    forward pass of a small model.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # its own type has nothing that is needed
        order = self._order()
        self.generator = named_generator("workers", order.seed, order.epoch)
        self._epoch, self._position = order.epoch, order.start
        batches = self._watched(super().__iter__()) if self.num_workers > 0 else self._straight(iter(order))
        order.start = 0
        return batches

    def _straight(self, order: Iterator[Tensor | slice]) -> Iterator[Batch]:
        assert isinstance(self.dataset, TensorDataset)
        for indices in order:
            self._position += 1
            yield self.dataset.__getitems__(indices)

    def _watched(self, batches: Any) -> Iterator[Batch]:
        try:
            for batch in batches:
                self._position += 1
                yield batch
        except (RuntimeError, OSError, EOFError) as error:
            # The connection to a dying worker may break before the system tells of its death.
            if not wait([worker.sentinel for worker in batches._workers], timeout=WORKER_CHECK_INTERVAL_S):
                raise
            raise RunError(
                f"a worker of the data loader has died (data.num_workers={self.num_workers}), for want of memory?"
            ) from error

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been handed out."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there in the next iteration."""
        self._order().epoch = state["epoch"]
        self._order().start = state["position"]

    def _order(self) -> ResumableBatchSampler:
        assert isinstance(self.batch_sampler, ResumableBatchSampler)
        return self.batch_sampler


def make_dataloader(
    examples: TensorDataset, order: ResumableBatchSampler, num_workers: int = 0, worker_start: str | None = None
) -> DataLoader[Batch]:
    """What hands out the batches of a set.

    Args:
        examples: the set.
        order: of its batches.
        num_workers: processes that make batches.
        worker_start: how these are started, as `multiprocessing` calls it; None is the system's way.
    """
    return ResumableDataLoader(
        examples,
        batch_sampler=order,  # type: ignore[arg-type]  # torch types indices as lists; a tensor or a slice is one
        collate_fn=identity_collate,  # type: ignore[arg-type]  # torch types it for lists of examples
        num_workers=num_workers,
        multiprocessing_context=worker_start if num_workers > 0 else None,
        worker_init_fn=worker_init,
        persistent_workers=num_workers > 0,
    )


def worker_init(_: int) -> None:
    """Leave signals that reach all processes to the one that trains: it saves, and ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):  # a clock that kills, should nobody end it
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(math.ceil(GRACE_PERIOD_S)))


def identity_collate(batch: Batch) -> Batch:
    """A batch comes whole from the set: there is nothing to collate."""
    return batch
