"""The loader: the same batches with and without workers, from the beginning or from any place on."""

import multiprocessing
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.utilities.data import _set_sampler_epoch
from torch import Tensor
from torch.utils.data import DataLoader

from dive.data.dataloader import ResumableDataLoader, make_dataloader
from dive.data.tensor_dataset import Batch, ResumableBatchSampler, TensorDataset
from dive.errors import RunError


def some_examples(count: int) -> TensorDataset:
    """Each example is its own number."""
    return TensorDataset(torch.arange(count), 100 + torch.arange(count))


def training(
    num_workers: int = 0, count: int = 10, seed: int = 0, examples: TensorDataset | None = None
) -> ResumableDataLoader:
    """Batches of four, in an order of their own each epoch."""
    made = make_dataloader(
        examples or some_examples(count), ResumableBatchSampler(count, 4, training=True, seed=seed), num_workers
    )
    assert isinstance(made, ResumableDataLoader)
    return made


def epoch(batches_of: DataLoader[Batch], number: int) -> Iterator[list[int]]:
    """The inputs of each batch of an epoch, as Lightning would go through it."""
    _set_sampler_epoch(batches_of, number)
    return (inputs.tolist() for inputs, _ in batches_of)


def order(number: int, count: int = 10, seed: int = 0) -> list[list[int]]:
    """What they should be."""
    batches = ResumableBatchSampler(count, 4, training=True, seed=seed)
    batches.set_epoch(number)
    return [batch.tolist() for batch in batches]  # type: ignore[union-attr]


@pytest.mark.parametrize("shuffle", [False, True])
def test_no_workers_and_two_give_the_same_batches(shuffle: bool) -> None:
    examples = some_examples(10)
    loaders = [
        make_dataloader(examples, ResumableBatchSampler(10, 4, training=True, shuffle=shuffle), num_workers=count)
        for count in (0, 2)
    ]
    for number in range(2):
        seen = []
        for batches_of in loaders:
            _set_sampler_epoch(batches_of, number)
            seen.append([(inputs.tolist(), targets.tolist()) for inputs, targets in batches_of])
        assert seen[0] == seen[1]
        assert [inputs for inputs, _ in seen[0]] == (
            order(number) if shuffle else [[*range(4)], [*range(4, 8)], [8, 9]]
        )
        assert all(target == example + 100 for batch in seen[0] for example, target in zip(*batch, strict=True))


workers = pytest.mark.parametrize("num_workers", [0, 2])


@workers
def test_its_state_is_the_epoch_and_the_number_of_batches_handed_out(num_workers: int) -> None:
    batches_of = training(num_workers, count=22)
    for number in (0, 3):
        for handed_out, _ in enumerate(epoch(batches_of, number), start=1):
            # Workers have made more already.
            assert batches_of.state_dict() == {"epoch": number, "position": handed_out}
        assert handed_out == 6


@workers
def test_before_its_first_batch_nothing_is_handed_out(num_workers: int) -> None:
    batches_of = training(num_workers)
    _set_sampler_epoch(batches_of, 2)
    iter(batches_of)
    assert batches_of.state_dict() == {"epoch": 2, "position": 0}


@workers
@pytest.mark.parametrize("position", [0, 1, 3, 6])
def test_it_goes_on_from_any_batch_and_then_begins_anew(num_workers: int, position: int) -> None:
    batches_of = training(num_workers, count=22)
    batches_of.load_state_dict({"epoch": 2, "position": position})
    assert [inputs.tolist() for inputs, _ in batches_of] == order(2, 22)[position:]
    assert batches_of.state_dict() == {"epoch": 2, "position": 6}
    assert [inputs.tolist() for inputs, _ in batches_of] == order(2, 22)
    assert list(epoch(batches_of, 3)) == order(3, 22)


@workers
def test_the_state_taken_at_any_batch_leads_to_the_others(num_workers: int) -> None:
    whole, states = [], []
    batches_of = training(num_workers, count=22)
    for batch in epoch(batches_of, 1):
        whole.append(batch)
        states.append(batches_of.state_dict())
    goes_on = training(num_workers, count=22)
    for done, state in enumerate(states, start=1):  # the same loader again and again: its workers persist
        goes_on.load_state_dict(state)
        rest = [inputs.tolist() for inputs, _ in goes_on]
        assert whole[:done] + rest == whole
    assert len(states) == 6


@workers
def test_after_going_on_it_counts_from_where_it_went_on(num_workers: int) -> None:
    batches_of = training(num_workers, count=22)
    batches_of.load_state_dict({"epoch": 2, "position": 3})
    begun = iter(batches_of)
    assert batches_of.state_dict() == {"epoch": 2, "position": 3}
    next(begun)
    assert batches_of.state_dict() == {"epoch": 2, "position": 4}
    begun = iter(batches_of)  # left in the middle, as where batches are limited
    next(begun)
    assert batches_of.state_dict() == {"epoch": 2, "position": 1}


@workers
def test_it_goes_on_while_an_epoch_is_under_way(num_workers: int) -> None:
    # So does Lightning, which begins an iteration before it loads a state.
    batches_of = training(num_workers)
    next(iter(batches_of))
    batches_of.load_state_dict({"epoch": 4, "position": 2})
    assert [inputs.tolist() for inputs, _ in batches_of] == order(4)[2:]


@workers
def test_going_through_it_leaves_the_global_random_numbers_alone(num_workers: int) -> None:
    batches_of = training(num_workers)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    for number in range(2):
        list(epoch(batches_of, number))
    batches_of.load_state_dict({"epoch": 0, "position": 1})
    list(batches_of)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


class Telling(TensorDataset):
    """Its batches say with what seed their worker was started, and what it draws."""

    def __getitems__(self, indices: Tensor | slice) -> Batch:
        """The seed of the worker, and a random number."""
        return torch.tensor(torch.initial_seed()), torch.rand(1)


def seeds(seed: int, number: int, position: int = 0, before: Any = 0) -> dict[int, float]:
    """What workers are started with, and the first number that each of them draws."""
    torch.manual_seed(before)
    examples = Telling(torch.zeros(10), torch.zeros(10))
    batches_of = training(2, seed=seed, examples=examples)
    batches_of.load_state_dict({"epoch": number, "position": position})
    said: dict[int, float] = {}
    for started_with, drawn in batches_of:
        said.setdefault(int(started_with), float(drawn))
    return said


def test_seeds_of_workers_depend_on_seed_and_epoch_and_on_nothing_else() -> None:
    said = seeds(0, 0)
    assert len(said) == len(set(said.values())) == 2  # one for each worker
    assert seeds(0, 0, before=1) == seeds(0, 0, position=1) == said
    for others in (seeds(0, 1), seeds(1, 0)):
        assert not others.keys() & said.keys()


def test_without_workers_it_asks_for_none_and_with_workers_they_stay() -> None:
    assert training(0).num_workers == 0
    assert not training(0).persistent_workers
    begun = training(2)
    list(begun)
    first = begun._iterator
    list(begun)
    assert begun._iterator is first


class Breaking:
    """Batches whose connection to a worker breaks before that worker has died, or without its dying."""

    def __init__(self, lives_on_s: float) -> None:
        self._workers = [multiprocessing.get_context("fork").Process(target=time.sleep, args=(lives_on_s,))]

    def __iter__(self) -> Iterator[Batch]:
        """Break at once."""
        self._workers[0].start()
        raise ConnectionResetError(104, "Connection reset by peer")


def test_a_worker_whose_death_comes_to_light_after_its_connection_broke() -> None:
    with pytest.raises(RunError, match=r"a worker of the data loader has died \(data\.num_workers=2\)"):
        list(training(2)._watched(Breaking(0.2)))


def test_a_connection_that_breaks_though_all_workers_live_is_told_as_it_is(monkeypatch: Any) -> None:
    monkeypatch.setattr("dive.data.dataloader.WORKER_CHECK_INTERVAL_S", 0.1)
    batches = Breaking(60)
    with pytest.raises(ConnectionResetError):
        list(training(2)._watched(batches))
    batches._workers[0].kill()
    batches._workers[0].join()
