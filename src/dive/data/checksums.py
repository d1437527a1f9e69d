"""Checksums of splits, to detect data sets that differ."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dive.data.datamodule import Splits


def split_checksums(splits: Splits) -> dict[str, str]:
    """The CRC-32 of each split, on any device: inputs followed by targets, in hexadecimal.

    It detects accidental differences, and takes 0.1 s for Fashion-MNIST, half the time of SHA-256.

    >>> from dive.data.datamodule import Splits
    >>> from dive.data.tensor_dataset import TensorDataset
    >>> examples = TensorDataset(torch.zeros(2, 1), torch.ones(2, 1))
    >>> split_checksums(Splits(examples, examples))
    {'train': '5c9fc5ac', 'val': '5c9fc5ac'}
    """
    checksums: dict[int, str] = {}  # by identity, because one data set may serve as two splits
    for part in splits:
        if part is not None and id(part) not in checksums:
            code = 0
            for tensor in (part.inputs, part.targets):
                code = zlib.crc32(tensor.cpu().contiguous().view(torch.uint8).numpy().data, code)
            checksums[id(part)] = f"{code:08x}"
    return {name: checksums[id(part)] for name, part in splits._asdict().items() if part is not None}


def changed_names(recorded: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """The splits whose checksum differs from a recorded one.

    >>> changed_names({"train": "5c9fc5ac"}, {"train": "00000000", "val": "5c9fc5ac"})
    ['train']
    """
    return [name for name in current if recorded.get(name, current[name]) != current[name]]
