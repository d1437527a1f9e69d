"""Checksums of splits."""

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


def test_checksum_is_the_crc_of_the_bytes() -> None:
    checksums = split_checksums(Splits(split(), split(X + 1), split()))
    assert checksums["train"] == f"{zlib.crc32(X.numpy().tobytes() + Y.numpy().tobytes()):08x}"
    assert checksums["val"] == f"{zlib.crc32((X + 1).numpy().tobytes() + Y.numpy().tobytes()):08x}"
    assert checksums["test"] == checksums["train"]


def test_no_checksum_without_a_test_split() -> None:
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
def test_different_splits_have_different_checksums(other: TensorDataset) -> None:
    assert split_checksums(Splits(other, split()))["train"] != split_checksums(Splits(split(), split()))["train"]


def test_memory_layout_does_not_matter() -> None:
    transposed = X.t().contiguous().t()
    assert not transposed.is_contiguous()
    assert (
        split_checksums(Splits(split(transposed), split()))["train"]
        == split_checksums(Splits(split(), split()))["train"]
    )
