"""A number a split tells sets apart."""

import zlib

import pytest
import torch
from torch import Tensor

from dive.data.checksums import split_checksums
from dive.data.datamodule import Splits
from dive.data.tensor_dataset import TensorDataset

X, Y = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 0])


def split(inputs: Tensor = X, targets: Tensor = Y) -> TensorDataset:
    return TensorDataset(inputs, targets)


def test_it_is_the_crc_of_the_bytes() -> None:
    told = split_checksums(Splits(split(), split(X + 1), split()))
    assert told["train"] == f"{zlib.crc32(X.numpy().tobytes() + Y.numpy().tobytes()):08x}"
    assert told["val"] == f"{zlib.crc32((X + 1).numpy().tobytes() + Y.numpy().tobytes()):08x}"
    assert told["test"] == told["train"]


def test_a_set_without_a_test_split_has_none() -> None:
    assert split_checksums(Splits(split(), split())).keys() == {"train", "val"}


@pytest.mark.parametrize(
    "other",
    [
        split(X.flip(0)),
        split(X, Y.flip(0) + 1),
        split(X.double()),
        split(X[:2], Y[:2]),
        split(X.roll(1)),
    ],
    ids=["order", "targets", "precision", "fewer", "other numbers"],
)
def test_sets_that_differ_have_others(other: TensorDataset) -> None:
    assert split_checksums(Splits(other, split()))["train"] != split_checksums(Splits(split(), split()))["train"]


def test_how_it_lies_in_memory_does_not_matter() -> None:
    turned = X.t().contiguous().t()
    assert not turned.is_contiguous()
    assert (
        split_checksums(Splits(split(turned), split()))["train"]
        == split_checksums(Splits(split(), split()))["train"]
    )
