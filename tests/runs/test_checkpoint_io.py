"""Checkpoint files round-trip, and anything else is rejected."""

import io
import math
import os
import pathlib
import pickle
import random
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from dive.errors import RunError
from dive.runs.checkpoint_io import AtomicCheckpointIO, CorruptCheckpointError, load_checkpoint, save_checkpoint

SMALL = {
    "state_dict": OrderedDict(w=torch.arange(6.0).reshape(2, 3), b=torch.tensor([math.pi], dtype=torch.float64)),
    "epoch": 3,
    "pytorch-lightning_version": "2.6.6",
    "loops": {"fit_loop": {"done": [1, 2, (3, None)]}},
}


class Custom:
    """An object that a checkpoint may not contain."""


class Color(Enum):
    """An enum, which is not allowed either."""

    RED = 1


class DictSubclass(dict[str, int]):
    """A subclass of an allowed type, which is not allowed because unpickling needs the class."""


def same(one: Any, other: Any) -> bool:
    """Whether two values are bit-identical, including container types."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (one != one and other != other)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of a checkpoint that does not exist yet."""
    return tmp_path / "last.ckpt"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a small checkpoint file."""
    path = tmp_path_factory.mktemp("saved") / "small.ckpt"
    save_checkpoint(SMALL, path)
    return path.read_bytes()


def archive_with(payload: bytes) -> bytes:
    """A valid archive in torch's format with a different pickle."""
    content = io.BytesIO()
    torch.save({"state_dict": {}}, content)
    changed = io.BytesIO()
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, payload if name.endswith("data.pkl") else old.read(name))
    return changed.getvalue()


class Payload:
    """Creates a directory when it is unpickled unsafely."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.canary),)


def hostile(canary: Path) -> bytes:
    return archive_with(pickle.dumps({"state_dict": {}, "epoch": Payload(canary)}, protocol=2))


# Saving.


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**70),
        0.1,
        math.nan,
        "ä\n",
        b"\x00\xff",
        [],
        {},
        (1, [2, {3: (4,)}]),
        {1, 2},
        OrderedDict(b=1, a=2),
        Counter("abba"),
        torch.Size([2, 3]),
        torch.bfloat16,
        torch.device("cpu"),
        torch.tensor(1 + 2j),
        torch.tensor([], dtype=torch.int8),
        torch.tensor([1.5, math.inf], dtype=torch.bfloat16),
        torch.arange(12).reshape(3, 4).T,
        {"ä": {0: None, (1, 2): torch.ones(2, dtype=torch.bool)}},
    ],
    ids=repr,
)
def test_saved_value_is_loaded_unchanged(path: Path, value: Any) -> None:
    save_checkpoint({"state_dict": {}, "value": value}, path)
    assert same(load_checkpoint(path), {"state_dict": {}, "value": value})


def test_parameters_and_shared_memory_are_preserved(path: Path) -> None:
    weights = torch.nn.Parameter(torch.arange(4.0))
    save_checkpoint({"state_dict": {"w": weights, "tied": weights, "half": weights.detach()[:2]}}, path)
    loaded = load_checkpoint(path)["state_dict"]
    assert isinstance(loaded["w"], torch.nn.Parameter)
    assert torch.equal(loaded["w"], weights)
    with torch.no_grad():
        loaded["w"][0] = 9
    assert loaded["tied"][0] == loaded["half"][0] == 9


def test_saving_creates_the_directory_and_replaces_the_file_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "last.ckpt"
    for epoch in range(2):
        save_checkpoint(SMALL | {"epoch": epoch}, path)
    assert load_checkpoint(path)["epoch"] == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


UNSUPPORTED = {
    "partial": (partial(print), "functools.partial"),
    "path": (pathlib.PurePosixPath("/x"), "pathlib.PurePosixPath"),
    "numpy scalar": (np.float32(0.5), "numpy.float32"),
    "numpy subclass of float": (np.float64(0.5), "numpy.float64"),
    "numpy array": (np.zeros(2), "numpy.ndarray"),
    "configuration": (OmegaConf.create({"lr": 0.1}), "omegaconf.dictconfig.DictConfig"),
    "list of a configuration": (OmegaConf.create([1]), "omegaconf.listconfig.ListConfig"),
    "enum": (Color.RED, f"{__name__}.Color"),
    "object": (Custom(), f"{__name__}.Custom"),
    "subclass of dict": (DictSubclass(a=1), f"{__name__}.DictSubclass"),
    "deque": (deque([1]), "collections.deque"),
    "defaultdict": (defaultdict(int, a=1), "collections.defaultdict"),
    "function": (print, "builtins.builtin_function_or_method"),
    "class": (Custom, "builtins.type"),
}


@pytest.mark.parametrize(("value", "kind"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_value_is_rejected_with_its_key_and_type(path: Path, value: Any, kind: str) -> None:
    for content, key in (
        ({"extra": value}, "extra"),
        ({"a": {"b": [0, (1, value)]}}, "a.b[1][1]"),
        ({"a": [OrderedDict(b=value)]}, "a[0].b"),
    ):
        with pytest.raises(RunError) as caught:
            save_checkpoint({"state_dict": {}, **content}, path)
        assert str(caught.value) == (
            f"{path}: not saved: checkpoints may contain only tensors and plain containers, but {key} is a {kind}"
        )
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("key", [pathlib.PurePosixPath("x"), Color.RED, np.int64(3), (1, np.int64(3)), Custom()])
def test_unsupported_key_is_rejected(path: Path, key: Any) -> None:
    with pytest.raises(RunError, match=r"but a key of a\.b") as caught:
        save_checkpoint({"state_dict": {}, "a": {"b": {key: 1}}}, path)
    assert str(path) in str(caught.value)
    assert not path.exists()


def test_rejected_checkpoint_leaves_the_previous_one(path: Path) -> None:
    save_checkpoint(SMALL, path)
    with pytest.raises(RunError, match="not saved"):
        save_checkpoint({"state_dict": {}, "extra": Custom()}, path)
    assert same(load_checkpoint(path), SMALL)
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("existed", [True, False])
def test_full_disk_leaves_the_previous_checkpoint_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    if existed:
        save_checkpoint(SMALL, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dive.runs.atomic_io.os.fsync", full)
    with pytest.raises(RunError) as caught:
        save_checkpoint(SMALL | {"epoch": 4}, path)
    message = f"{path}: cannot be saved: No space left on device"
    assert str(caught.value) == message + ("; the previous checkpoint is unchanged" if existed else "")
    assert [entry.name for entry in path.parent.iterdir()] == (["last.ckpt"] if existed else [])
    assert not existed or same(load_checkpoint(path), SMALL)


def test_directory_that_cannot_be_created_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be saved: "):
        save_checkpoint(SMALL, tmp_path / "file" / "last.ckpt")


# Loading corrupt files.


def test_missing_file_cannot_be_read(path: Path) -> None:
    with pytest.raises(RunError, match=r"last\.ckpt: cannot be read: No such file or directory") as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, CorruptCheckpointError)


def test_empty_file_is_corrupt(path: Path) -> None:
    path.touch()
    with pytest.raises(CorruptCheckpointError, match=r"last\.ckpt is corrupt: "):
        load_checkpoint(path)


def test_truncated_checkpoint_is_corrupt(path: Path, saved: bytes) -> None:
    for length in {*range(0, len(saved), 37), *range(len(saved) - 40, len(saved))}:
        path.write_bytes(saved[:length])
        with pytest.raises(CorruptCheckpointError):
            load_checkpoint(path)


def test_zeroed_bytes_are_detected_or_harmless(path: Path, saved: bytes) -> None:
    harmless = 0
    for start in range(0, len(saved) - 64, 16):
        zeroed = saved[:start] + bytes(64) + saved[start + 64 :]
        path.write_bytes(zeroed)
        harmless += is_harmless(path, f"zeros at {start}")
    assert harmless < len(saved) / 16 / 2


def is_harmless(path: Path, change: str) -> bool:
    try:
        loaded = load_checkpoint(path)
    except CorruptCheckpointError:
        return False
    assert same(loaded, SMALL), change
    return True


def test_flipped_bit_is_detected_or_harmless(path: Path, saved: bytes) -> None:
    directory = saved.index(b"PK\x01\x02")  # the list of records, which has no checksum
    positions = [*range(0, directory, 7), *range(directory, len(saved))]
    detected = 0
    for position in positions:
        for bit in range(8):
            flipped = bytearray(saved)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            detected += not is_harmless(path, f"bit {bit} of byte {position}")
    assert detected > len(positions)


@pytest.mark.parametrize("record", ["data.pkl", "data/0"])
def test_every_flipped_bit_of_a_record_is_detected(path: Path, saved: bytes, record: str) -> None:
    with zipfile.ZipFile(io.BytesIO(saved)) as records:
        (name,) = (name for name in records.namelist() if name.endswith(record))
        content = records.read(name)
    start = saved.index(content)
    for position in range(start, start + len(content)):
        flipped = bytearray(saved)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(CorruptCheckpointError, match=f"is corrupt: checksum mismatch in {name}"):
            load_checkpoint(path)


# Loading files that are not checkpoints.


def test_text_file_is_corrupt(path: Path) -> None:
    path.write_text("state_dict: {}\n")
    with pytest.raises(CorruptCheckpointError, match="not a zip file"):
        load_checkpoint(path)


def test_other_zip_archive_is_rejected(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(RunError, match=str(path)):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2), None], ids=repr)
def test_plain_data_that_is_not_a_checkpoint_is_rejected(path: Path, content: Any) -> None:
    torch.save(content, path)
    with pytest.raises(RunError, match="is rejected: it is not the checkpoint of a run") as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, CorruptCheckpointError)


def test_checkpoint_that_runs_code_is_rejected_without_running_it(path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path.write_bytes(hostile(canary))
    with pytest.raises(
        RunError, match="is rejected: checkpoints may contain only tensors and plain containers, but it references"
    ) as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, CorruptCheckpointError)
    assert "\n" not in str(caught.value)
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the payload works
    assert canary.exists()


def test_pickle_without_an_archive_is_rejected_without_running_code(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Payload(tmp_path / "canary")}))
    with pytest.raises(RunError):
        load_checkpoint(path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_pickle_in_a_valid_archive_is_loaded_or_rejected_in_one_line(path: Path, saved: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(saved)) as records:
        payload = records.read(next(name for name in records.namelist() if name.endswith("data.pkl")))
    generator, messages = random.Random(0), []
    for _ in range(400):
        changed = bytearray(payload)
        changed[generator.randrange(len(changed))] = generator.randrange(256)
        path.write_bytes(archive_with(bytes(changed)))
        try:
            load_checkpoint(path)
        except RunError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert [line for line in messages if "\n" in line] == []


@pytest.mark.parametrize(
    "value", [Custom(), np.float64(0.5), partial(print)], ids=lambda value: type(value).__name__
)
def test_checkpoint_with_arbitrary_objects_is_rejected(path: Path, value: Any) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"x": value}}, path)
    with pytest.raises(RunError, match="is rejected: "):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["_instantiator", "_class_path"])
@pytest.mark.parametrize(
    "nest",
    [
        lambda node: node,
        lambda node: {"hyper_parameters": node},
        lambda node: {"datamodule_hyper_parameters": {"a": {"b": node}}},
        lambda node: {"callbacks": [0, ({"x": node},)]},
    ],
    ids=["top", "hyperparameters", "deep", "in lists"],
)
def test_checkpoint_that_names_code_to_call_is_rejected(
    path: Path, name: str, nest: Callable[[dict[str, str]], dict[str, Any]]
) -> None:
    save_checkpoint({"state_dict": {}, **nest({name: "os.system"})}, path)
    with pytest.raises(RunError, match=rf"is rejected: it names code to call \({name}\)"):
        load_checkpoint(path)


# Lightning's plugin.


@pytest.mark.parametrize("weights_only", [True, False, None])
def test_lightning_cannot_disable_safe_loading(tmp_path: Path, path: Path, weights_only: bool | None) -> None:
    path.write_bytes(hostile(tmp_path / "canary"))
    with pytest.raises(RunError, match="is rejected"):
        AtomicCheckpointIO(path.parent).load_checkpoint(path, weights_only=weights_only)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", [str, Path])
def test_lightning_loads_what_it_saved(path: Path, kind: Callable[[Path], str | Path]) -> None:
    plugin = AtomicCheckpointIO(path.parent)
    plugin.save_checkpoint(SMALL, kind(path))
    assert same(plugin.load_checkpoint(kind(path)), SMALL)
    with pytest.raises(RunError, match=r"extra is a .*\.Custom"):
        plugin.save_checkpoint(SMALL | {"extra": Custom()}, kind(path))


@pytest.mark.parametrize("where", ["meta", torch.device("meta"), {"cpu": "meta"}])
def test_tensors_are_mapped_to_the_requested_device(path: Path, where: Any) -> None:
    save_checkpoint(SMALL, path)
    assert load_checkpoint(path)["state_dict"]["w"].device.type == "cpu"
    loaded = AtomicCheckpointIO(path.parent).load_checkpoint(path, map_location=where)
    assert loaded["state_dict"]["w"].device.type == "meta"
    assert loaded["state_dict"]["w"].shape == (2, 3)
