"""ResumableDataLoader: the same batches with and without workers, from the start or resumed at any batch."""

import multiprocessing
import random
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.data import _set_sampler_epoch
from torch import Tensor
from torch.utils.data import DataLoader

from dive.data.batch_sampler import ResumableBatchSampler
from dive.data.dataloader import ResumableDataLoader, make_dataloader
from dive.data.tensor_dataset import Batch, TensorDataset
from dive.errors import RunError


def make_examples(count: int) -> TensorDataset:
    """Examples that equal their index."""
    return TensorDataset(torch.arange(count), 100 + torch.arange(count))


def training_dataloader(
    num_workers: int = 0, count: int = 10, seed: int = 0, examples: TensorDataset | None = None
) -> ResumableDataLoader:
    """Batches of four, reshuffled in each epoch."""
    made = make_dataloader(
        examples or make_examples(count),
        ResumableBatchSampler(count, 4, training=True, seed=seed),
        num_workers,
    )
    assert isinstance(made, ResumableDataLoader)
    return made


def iterate_epoch(dataloader: DataLoader[Batch], epoch: int) -> Iterator[list[int]]:
    """The inputs of each batch of an epoch, iterated as Lightning does."""
    _set_sampler_epoch(dataloader, epoch)
    return (inputs.tolist() for inputs, _ in dataloader)


def expected_batches(epoch: int, count: int = 10, seed: int = 0) -> list[list[int]]:
    """The batches of an epoch according to the sampler."""
    batches = ResumableBatchSampler(count, 4, training=True, seed=seed)
    batches.set_epoch(epoch)
    return [batch.tolist() for batch in batches]  # type: ignore[union-attr]


@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_do_not_depend_on_num_workers(shuffle: bool) -> None:
    examples = make_examples(10)
    loaders = [
        make_dataloader(examples, ResumableBatchSampler(10, 4, training=True, shuffle=shuffle), num_workers=count)
        for count in (0, 2)
    ]
    for epoch in range(2):
        seen = []
        for dataloader in loaders:
            _set_sampler_epoch(dataloader, epoch)
            seen.append([(inputs.tolist(), targets.tolist()) for inputs, targets in dataloader])
        assert seen[0] == seen[1]
        assert [inputs for inputs, _ in seen[0]] == (
            expected_batches(epoch) if shuffle else [[*range(4)], [*range(4, 8)], [8, 9]]
        )
        assert all(target == example + 100 for batch in seen[0] for example, target in zip(*batch, strict=True))


workers = pytest.mark.parametrize("num_workers", [0, 2])


@workers
def test_state_is_the_epoch_and_the_number_of_returned_batches(num_workers: int) -> None:
    dataloader = training_dataloader(num_workers, count=22)
    for epoch in (0, 3):
        for returned, _ in enumerate(iterate_epoch(dataloader, epoch), start=1):
            # Workers have prefetched more batches.
            assert dataloader.state_dict() == {"epoch": epoch, "position": returned}
        assert returned == 6


@workers
def test_position_is_0_before_the_first_batch(num_workers: int) -> None:
    dataloader = training_dataloader(num_workers)
    _set_sampler_epoch(dataloader, 2)
    iter(dataloader)
    assert dataloader.state_dict() == {"epoch": 2, "position": 0}


@workers
@pytest.mark.parametrize("position", [0, 1, 3, 6])
def test_resume_at_any_batch_then_start_over(num_workers: int, position: int) -> None:
    dataloader = training_dataloader(num_workers, count=22)
    dataloader.load_state_dict({"epoch": 2, "position": position})
    assert [inputs.tolist() for inputs, _ in dataloader] == expected_batches(2, 22)[position:]
    assert dataloader.state_dict() == {"epoch": 2, "position": 6}
    assert [inputs.tolist() for inputs, _ in dataloader] == expected_batches(2, 22)
    assert list(iterate_epoch(dataloader, 3)) == expected_batches(3, 22)


@workers
def test_state_at_any_batch_resumes_with_the_rest(num_workers: int) -> None:
    all_batches, states = [], []
    dataloader = training_dataloader(num_workers, count=22)
    for batch in iterate_epoch(dataloader, 1):
        all_batches.append(batch)
        states.append(dataloader.state_dict())
    resumed = training_dataloader(num_workers, count=22)
    for done, state in enumerate(states, start=1):  # the same data loader: its workers persist
        resumed.load_state_dict(state)
        rest = [inputs.tolist() for inputs, _ in resumed]
        assert all_batches[:done] + rest == all_batches
    assert len(states) == 6


@workers
def test_position_continues_after_resume(num_workers: int) -> None:
    dataloader = training_dataloader(num_workers, count=22)
    dataloader.load_state_dict({"epoch": 2, "position": 3})
    iterator = iter(dataloader)
    assert dataloader.state_dict() == {"epoch": 2, "position": 3}
    next(iterator)
    assert dataloader.state_dict() == {"epoch": 2, "position": 4}
    iterator = iter(dataloader)  # left in the middle, as with limit_train_batches
    next(iterator)
    assert dataloader.state_dict() == {"epoch": 2, "position": 1}


@workers
def test_load_state_during_an_iteration(num_workers: int) -> None:
    # Lightning starts an iteration before it loads a state.
    dataloader = training_dataloader(num_workers)
    next(iter(dataloader))
    dataloader.load_state_dict({"epoch": 4, "position": 2})
    assert [inputs.tolist() for inputs, _ in dataloader] == expected_batches(4)[2:]


@workers
def test_iteration_does_not_advance_the_global_generators(num_workers: int) -> None:
    dataloader = training_dataloader(num_workers)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    for epoch in range(2):
        list(iterate_epoch(dataloader, epoch))
    dataloader.load_state_dict({"epoch": 0, "position": 1})
    list(dataloader)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


class SeedDataset(TensorDataset):
    """Batches of the seed of the worker and a random number."""

    def __getitems__(self, indices: Tensor | slice) -> Batch:
        """The seed of the worker, and a random number."""
        return torch.tensor(torch.initial_seed()), torch.rand(1)


def worker_seeds(seed: int, epoch: int, position: int = 0, global_seed: Any = 0) -> dict[int, float]:
    """The seed of each worker, and the first random number that it draws."""
    torch.manual_seed(global_seed)
    examples = SeedDataset(torch.zeros(10), torch.zeros(10))
    dataloader = training_dataloader(2, seed=seed, examples=examples)
    dataloader.load_state_dict({"epoch": epoch, "position": position})
    first_draws: dict[int, float] = {}
    for worker_seed, draw in dataloader:
        first_draws.setdefault(int(worker_seed), float(draw))
    return first_draws


def test_worker_seeds_depend_only_on_seed_and_epoch() -> None:
    first_draws = worker_seeds(0, 0)
    assert len(first_draws) == len(set(first_draws.values())) == 2  # one for each worker
    assert worker_seeds(0, 0, global_seed=1) == worker_seeds(0, 0, position=1) == first_draws
    for others in (worker_seeds(0, 1), worker_seeds(1, 0)):
        assert not others.keys() & first_draws.keys()


def test_workers_persist() -> None:
    assert training_dataloader(0).num_workers == 0
    assert not training_dataloader(0).persistent_workers
    dataloader = training_dataloader(2)
    list(dataloader)
    first = dataloader._iterator
    list(dataloader)
    assert dataloader._iterator is first


class BrokenConnection:
    """Batches whose connection to a worker breaks before the worker has exited."""

    def __init__(self, lifetime_s: float) -> None:
        self._workers = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(lifetime_s,))]

    def __iter__(self) -> Iterator[Batch]:
        """Fail immediately."""
        self._workers[0].start()
        raise ConnectionResetError(104, "Connection reset by peer")


def test_worker_exit_after_its_connection_broke() -> None:
    with pytest.raises(RunError, match=r"a worker of the data loader has died \(data\.num_workers=2\)"):
        list(training_dataloader(2)._load_in_workers(BrokenConnection(0.2)))


def test_broken_connection_with_live_workers_is_reraised(monkeypatch: Any) -> None:
    monkeypatch.setattr("dive.data.dataloader.WORKER_CHECK_INTERVAL_S", 0.1)
    batches = BrokenConnection(60)
    with pytest.raises(ConnectionResetError):
        list(training_dataloader(2)._load_in_workers(batches))
    batches._workers[0].kill()
    batches._workers[0].join()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_ctrl_c_does_not_reach_workers_even_before_they_can_ignore_it() -> None:
    batches = iter(training_dataloader(num_workers=2))
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    for worker in workers:
        status = Path("/proc", str(worker.pid), "status").read_text()
        blocked = int(re.search(r"SigBlk:\s+(\w+)", status)[1], 16)  # type: ignore[index]
        assert blocked & 1 << (signal.SIGINT - 1)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert len(list(batches)) == 3
