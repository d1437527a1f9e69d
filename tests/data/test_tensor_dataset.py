"""The order of batches: a pure function of seed and epoch, and independent of the number of processes."""

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from dive.data import SyntheticRegression
from dive.data.batch_sampler import ResumableBatchSampler
from dive.data.tensor_dataset import TensorDataset
from dive.models import LinearRegression
from dive.tasks.task import RegressionTask
from dive.training.trainer import Trainer

SIZES = [(10, 4), (12, 4), (3, 8), (7, 1), (257, 64)]


def batches(*args: Any, epoch: int = 0, **settings: Any) -> list[list[int]]:
    """The numbers of the examples in each batch of an epoch."""
    sampler = ResumableBatchSampler(*args, **settings)
    sampler.set_epoch(epoch)
    return [numbers(batch, sampler.num_examples) for batch in sampler]


def numbers(batch: Tensor | slice, num_examples: int) -> list[int]:
    return torch.arange(num_examples)[batch].tolist()


def some_examples(count: int) -> TensorDataset:
    """Each example is its own number."""
    return TensorDataset(torch.arange(count), 100 + torch.arange(count))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("num_examples", "batch_size"), SIZES)
def test_each_example_appears_once_per_epoch(num_examples: int, batch_size: int, shuffle: bool) -> None:
    seen = batches(num_examples, batch_size, training=shuffle)
    assert sorted(itertools.chain(*seen)) == list(range(num_examples))
    assert all(len(batch) == batch_size for batch in seen[:-1])
    assert 0 < len(seen[-1]) <= batch_size


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("num_examples", "batch_size"), SIZES)
def test_length_is_the_number_of_batches(num_examples: int, batch_size: int, shuffle: bool) -> None:
    sampler = ResumableBatchSampler(num_examples, batch_size, training=shuffle)
    assert len(sampler) == len(list(sampler))


def test_order_is_a_pure_function_of_seed_and_epoch() -> None:
    sampler = ResumableBatchSampler(50, 8, training=True, seed=7)
    for epoch in range(3):  # a sampler with other epochs behind it, and other random numbers drawn
        sampler.set_epoch(epoch)
        batch_order = [batch.tolist() for batch in sampler]
        torch.manual_seed(epoch)
    assert batch_order == batches(50, 8, training=True, seed=7, epoch=2)


def test_order_is_constant_until_set_epoch() -> None:
    sampler = ResumableBatchSampler(50, 8, training=True)
    assert [batch.tolist() for batch in sampler] == [batch.tolist() for batch in sampler]


def test_sampling_does_not_advance_the_global_generator() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(ResumableBatchSampler(50, 8, training=True))
    assert torch.equal(torch.rand(1), expected)


def test_each_seed_and_epoch_has_a_different_order() -> None:
    orders = {
        tuple(itertools.chain(*batches(50, 8, training=True, seed=seed, epoch=epoch)))
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def test_without_shuffling_epochs_are_sequential() -> None:
    for epoch in range(2):
        assert batches(7, 3, seed=5, epoch=epoch) == [[0, 1, 2], [3, 4, 5], [6]]


def test_without_shuffling_a_batch_is_a_view() -> None:
    examples = TensorDataset(torch.zeros(7, 2), torch.zeros(7))
    for batch in ResumableBatchSampler(7, 3):
        inputs, targets = examples.__getitems__(batch)
        inputs += 1
        targets -= 1
    assert torch.equal(examples.inputs, torch.ones(7, 2))
    assert torch.equal(examples.targets, -torch.ones(7))


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize(("num_examples", "batch_size"), [(12, 6), (13, 6), (11, 4), (50, 7), (3, 3)])
def test_ranks_together_train_on_the_padded_batches_of_one_process(
    num_examples: int, batch_size: int, world_size: int
) -> None:
    settings = {"training": True, "seed": 3, "epoch": 2}
    alone = batches(num_examples, batch_size, **settings)
    ranks = [
        batches(num_examples, batch_size, **settings, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert {len(rank) for rank in ranks} == {len(alone)}
    for k, batch in enumerate(alone):
        shares = [rank[k] for rank in ranks]
        share = -(-len(batch) // world_size)
        assert [len(examples) for examples in shares] == [share] * world_size
        interleaved = [examples[i] for i in range(share) for examples in shares]
        assert interleaved[: len(batch)] == batch
        filling = interleaved[len(batch) :]
        assert filling == list(itertools.islice(itertools.cycle(batch), len(filling)))


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize(("num_examples", "batch_size"), [(12, 6), (13, 6), (11, 4), (50, 7), (3, 3)])
def test_ranks_together_evaluate_each_example_once(num_examples: int, batch_size: int, world_size: int) -> None:
    alone = batches(num_examples, batch_size)
    ranks = [batches(num_examples, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(itertools.chain(*itertools.chain(*ranks))) == list(range(num_examples))
    for k, batch in enumerate(alone):
        assert sorted(itertools.chain(*(rank[k] for rank in ranks if k < len(rank)))) == batch


@pytest.mark.parametrize(("num_examples", "batch_size"), [(100, 2), (2, 100)])
def test_fewer_examples_than_processes_are_rejected(num_examples: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match=r"at least one example per process \(3 processes\)"):
        ResumableBatchSampler(num_examples, batch_size, world_size=3)


@pytest.mark.parametrize(("inputs", "targets"), [(3, 4), (4, 3), (0, 0)])
def test_empty_data_and_unequal_lengths_are_rejected(inputs: int, targets: int) -> None:
    with pytest.raises(ValueError, match=f"at least one, got {inputs} and {targets}"):
        TensorDataset(torch.zeros(inputs, 2), torch.zeros(targets))


def test_single_examples() -> None:
    examples = some_examples(5)
    assert len(examples) == 5
    assert [value.item() for value in examples[3]] == [3, 103]


def test_moving_to_a_device_keeps_the_examples() -> None:
    moved = some_examples(5).to(torch.device("meta"))
    assert len(moved) == 5
    assert {moved.inputs.device.type, moved.targets.device.type} == {"meta"}


@pytest.mark.parametrize(("shuffle", "world_size"), [(True, 1), (False, 1), (True, 2)])
def test_start_skips_the_first_batches(shuffle: bool, world_size: int) -> None:
    settings = {"training": True, "shuffle": shuffle, "seed": 3, "world_size": world_size, "rank": world_size - 1}
    whole = batches(10, 4, **settings, epoch=2)
    for start in range(4):
        sampler = ResumableBatchSampler(10, 4, **settings)
        sampler.set_epoch(2)
        sampler.start = start
        assert [batch.tolist() for batch in sampler] == whole[start:]
        assert len(sampler) == 3  # of the epoch, not of the rest


class Recorder(pl.Callback):
    """Records the inputs of each training and validation batch, by epoch."""

    def __init__(self) -> None:
        self.train: dict[int, list[Tensor]] = {}
        self.val: dict[int, list[Tensor]] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: tuple[Tensor, Tensor], *_: Any
    ) -> None:
        """Record a training batch."""
        self.train.setdefault(trainer.current_epoch, []).append(batch[0])

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: tuple[Tensor, Tensor], *_: Any
    ) -> None:
        """Record a validation batch."""
        self.val.setdefault(trainer.current_epoch, []).append(batch[0])


def fit(folder: Path, task: pl.LightningModule, data: pl.LightningDataModule) -> Recorder:
    recorder = Recorder()
    Trainer(
        accelerator="cpu",
        max_epochs=3,
        callbacks=[recorder],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    ).fit(task, data)
    return recorder


@pytest.mark.parametrize("shuffle", [False, True])
def test_lightning_uses_the_order_of_each_epoch_and_sequential_validation(tmp_path: Path, shuffle: bool) -> None:
    data = SyntheticRegression(
        w=[1.0], b=0.0, noise=0.1, num_train=10, num_val=7, batch_size=4, seed=5, shuffle=shuffle
    )
    make: Callable[..., Any] = partial(torch.optim.SGD, lr=0.01)
    recorder = fit(tmp_path, RegressionTask(LinearRegression(1), nn.MSELoss(), make), data)
    train, val, _ = data.splits
    for epoch in range(3):
        expected = [
            train.inputs[rows] for rows in batches(10, 4, training=True, shuffle=shuffle, seed=5, epoch=epoch)
        ]
        assert [batch.tolist() for batch in recorder.train[epoch]] == [batch.tolist() for batch in expected]
        assert torch.equal(torch.cat(recorder.val[epoch]), val.inputs)
    assert torch.equal(torch.cat(recorder.train[0]), torch.cat(recorder.train[1])) is not shuffle
