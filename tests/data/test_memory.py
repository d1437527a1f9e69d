"""Sets larger than memory are refused before anything is loaded, on every kind of system."""

from pathlib import Path

import pytest
import torch

from dive.config.compose import compose_resolved
from dive.data import memory
from dive.data.datamodule import InMemoryDataModule
from dive.errors import DataError
from dive.training import instantiate

GB = 10**9


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a system tells of its memory."""
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    return tmp_path


def test_linux_tells_what_is_available(system: Path) -> None:
    (system / "meminfo").write_text("MemTotal:  9000 kB\nMemFree:  1000 kB\nMemAvailable:   3000 kB\n")
    assert memory.free_memory() == 3000 * 1024


@pytest.mark.parametrize(
    ("limit", "used"),
    [("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")],
)
def test_a_container_may_have_less_than_the_machine(system: Path, limit: str, used: str) -> None:
    (system / "memory").mkdir()
    (system / "meminfo").write_text("MemAvailable:   3000 kB\n")
    (system / limit).write_text("2000000\n")
    (system / used).write_text("500000\n")
    assert memory.free_memory() == 1500000
    (system / limit).write_text("max\n")
    assert memory.free_memory() == 3000 * 1024


def test_where_nothing_is_told_nothing_is_refused(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.os, "sysconf_names", {})
    assert memory.free_memory() is None
    memory.require_memory(10**18, "anything", "it")


def test_without_proc_the_pages_of_the_machine_count(system: Path) -> None:
    assert memory.free_memory() == memory.os.sysconf("SC_PHYS_PAGES") * memory.os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("data=garments", "data.resize=[20000,20000]"),
            r"data=garments: 22937\.7 GB as tensors, and .* data\.resize",
        ),
        (
            ("data=synthetic_regression", "data.num_train=10000000000000"),
            r"data=synthetic_regression: .* data\.num_train",
        ),
    ],
)
def test_a_set_larger_than_memory_is_refused_at_once(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        instantiate.instantiate_datamodule(compose_resolved(*words))


@pytest.mark.parametrize(
    "words",
    [
        ("data=garments", "data.num_train=300", "data.num_test=100", "data.val_size=100"),
        ("data=garments", "data.num_train=300", "data.num_test=100", "data.val_size=100", "data.resize=[40,20]"),
        ("data=synthetic_regression",),
    ],
)
def test_what_is_demanded_is_what_is_held_and_not_much_more(words: tuple[str, ...]) -> None:
    data: InMemoryDataModule = instantiate.instantiate_datamodule(compose_resolved(*words))
    held = sum(t.nbytes for part in data.splits if part is not None for t in (part.inputs, part.targets))
    assert held <= data.num_bytes <= 3 * held


def test_the_published_images_are_counted_too(real_data: Path) -> None:
    data = instantiate.instantiate_datamodule(compose_resolved("data=fashion_mnist", f"data.root={real_data}"))
    assert data.num_bytes == pytest.approx(70000 * 784 * 9, rel=0.01)
    assert sum(len(part) for part in data.splits if part is not None) == 70000


def test_a_set_that_says_nothing_of_its_size_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dive.data.memory.free_memory", lambda: 0)
    monkeypatch.setattr("dive.data.SyntheticRegression.num_bytes", InMemoryDataModule.num_bytes)
    assert torch.is_tensor(
        instantiate.instantiate_datamodule(compose_resolved("data=synthetic_regression")).splits.train.inputs
    )
