"""Data sets larger than memory are rejected before they are loaded."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dive.config.compose import compose_resolved
from dive.data import memory
from dive.data.datamodule import InMemoryDataModule
from dive.errors import DataError
from dive.training import instantiate

GB = 10**9


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cgroup folder, on a machine with 3 GB of available memory."""
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * GB))
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


def test_available_memory_of_the_machine(cgroup: Path) -> None:
    assert memory.available_memory() == 3 * GB


def test_available_memory_of_this_machine_is_positive() -> None:
    assert memory.available_memory() > 0


@pytest.mark.parametrize(
    ("limit", "used"),
    [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")],
)
def test_cgroup_limit(cgroup: Path, limit: str, used: str) -> None:
    (cgroup / "memory").mkdir()
    (cgroup / limit).write_text("2000000\n")
    (cgroup / used).write_text("500000\n")
    assert memory.available_memory() == 1500000
    (cgroup / limit).write_text("max\n")
    assert memory.available_memory() == 3 * GB


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("data=garments", "data.resize=[20000,20000]"),
            r"data=garments: needs 22937\.7 GB of memory, but only .* data\.resize",
        ),
        (
            ("data=synthetic_regression", "data.num_train=10000000000000"),
            r"data=synthetic_regression: .* data\.num_train",
        ),
    ],
)
def test_data_larger_than_memory_are_rejected_before_loading(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        instantiate.instantiate_datamodule(compose_resolved(*overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        ("data=garments", "data.num_train=300", "data.num_test=100", "data.val_size=100"),
        ("data=garments", "data.num_train=300", "data.num_test=100", "data.val_size=100", "data.resize=[40,20]"),
        ("data=synthetic_regression",),
    ],
)
def test_num_bytes_is_close_to_the_size_of_the_splits(overrides: tuple[str, ...]) -> None:
    data: InMemoryDataModule = instantiate.instantiate_datamodule(compose_resolved(*overrides))
    size = sum(t.nbytes for part in data.splits if part is not None for t in (part.inputs, part.targets))
    assert size <= data.num_bytes <= 3 * size


def test_num_bytes_of_fashion_mnist(real_data: Path) -> None:
    data = instantiate.instantiate_datamodule(compose_resolved("data=fashion_mnist", f"data.root={real_data}"))
    assert data.num_bytes == pytest.approx(70000 * 784 * 9, rel=0.01)
    assert sum(len(part) for part in data.splits if part is not None) == 70000


def test_data_of_unknown_size_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dive.data.memory.available_memory", lambda: 0)
    monkeypatch.setattr("dive.data.SyntheticRegression.num_bytes", InMemoryDataModule.num_bytes)
    assert torch.is_tensor(
        instantiate.instantiate_datamodule(compose_resolved("data=synthetic_regression")).splits.train.inputs
    )
