"""Checkpoints: what is saved comes back, and nothing else is taken for one."""

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
    "loops": {"fit_loop": {"done": [1, 2, (3, None)]}},
}


class Own:
    """Nothing that a checkpoint may hold."""


class Colour(Enum):
    """Nor is this."""

    RED = 1


class Odd(dict[str, int]):
    """Nor this: unpickling it would need its class."""


def same(one: Any, other: Any) -> bool:
    """Whether both are the same to the bit, types of containers included."""
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
    """Where a checkpoint is to be saved."""
    return tmp_path / "last.ckpt"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the file of a small checkpoint holds."""
    path = tmp_path_factory.mktemp("saved") / "small.ckpt"
    save_checkpoint(SMALL, path)
    return path.read_bytes()


def packed(payload: bytes) -> bytes:
    """A sound archive as torch writes them, but with another pickle in it."""
    content = io.BytesIO()
    torch.save({"state_dict": {}}, content)
    changed = io.BytesIO()
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, payload if name.endswith("data.pkl") else old.read(name))
    return changed.getvalue()


class Planted:
    """Makes a file when it is unpickled by something that runs code."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.canary),)


def hostile(canary: Path) -> bytes:
    return packed(pickle.dumps({"state_dict": {}, "epoch": Planted(canary)}, protocol=2))


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
def test_what_is_saved_comes_back_the_same(path: Path, value: Any) -> None:
    save_checkpoint({"state_dict": {}, "value": value}, path)
    assert same(load_checkpoint(path), {"state_dict": {}, "value": value})


def test_parameters_come_back_and_tensors_that_share_memory_still_do(path: Path) -> None:
    weights = torch.nn.Parameter(torch.arange(4.0))
    save_checkpoint({"state_dict": {"w": weights, "tied": weights, "half": weights.detach()[:2]}}, path)
    kept = load_checkpoint(path)["state_dict"]
    assert isinstance(kept["w"], torch.nn.Parameter)
    assert torch.equal(kept["w"], weights)
    with torch.no_grad():
        kept["w"][0] = 9
    assert kept["tied"][0] == kept["half"][0] == 9


def test_saving_makes_the_folder_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "last.ckpt"
    for epoch in range(2):
        save_checkpoint(SMALL | {"epoch": epoch}, path)
    assert load_checkpoint(path)["epoch"] == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


STRANGE = {
    "partial": (partial(print), "functools.partial"),
    "path": (pathlib.PurePosixPath("/x"), "pathlib.PurePosixPath"),
    "numpy scalar": (np.float32(0.5), "numpy.float32"),
    "numpy number that is a float": (np.float64(0.5), "numpy.float64"),
    "numpy array": (np.zeros(2), "numpy.ndarray"),
    "configuration": (OmegaConf.create({"lr": 0.1}), "omegaconf.dictconfig.DictConfig"),
    "list of a configuration": (OmegaConf.create([1]), "omegaconf.listconfig.ListConfig"),
    "enum": (Colour.RED, f"{__name__}.Colour"),
    "object": (Own(), f"{__name__}.Own"),
    "dictionary of a kind": (Odd(a=1), f"{__name__}.Odd"),
    "queue": (deque([1]), "collections.deque"),
    "dictionary with a default": (defaultdict(int, a=1), "collections.defaultdict"),
    "function": (print, "builtins.builtin_function_or_method"),
    "class": (Own, "builtins.type"),
}


@pytest.mark.parametrize(("value", "kind"), STRANGE.values(), ids=STRANGE)
def test_what_is_not_plain_is_refused_with_its_key_and_its_type(path: Path, value: Any, kind: str) -> None:
    for held, key in (
        ({"extra": value}, "extra"),
        ({"a": {"b": [0, (1, value)]}}, "a.b[1][1]"),
        ({"a": [OrderedDict(b=value)]}, "a[0].b"),
    ):
        with pytest.raises(RunError) as caught:
            save_checkpoint({"state_dict": {}, **held}, path)
        assert str(caught.value) == (
            f"{path}: not saved, a checkpoint holds plain containers and tensors, and {key} is a {kind}"
        )
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("key", [pathlib.PurePosixPath("x"), Colour.RED, np.int64(3), (1, np.int64(3)), Own()])
def test_a_key_that_is_not_plain_is_refused_too(path: Path, key: Any) -> None:
    with pytest.raises(RunError, match=r"and a key of a\.b") as caught:
        save_checkpoint({"state_dict": {}, "a": {"b": {key: 1}}}, path)
    assert str(path) in str(caught.value)
    assert not path.exists()


def test_what_is_refused_leaves_the_checkpoint_before(path: Path) -> None:
    save_checkpoint(SMALL, path)
    with pytest.raises(RunError, match="not saved"):
        save_checkpoint({"state_dict": {}, "extra": Own()}, path)
    assert same(load_checkpoint(path), SMALL)
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("existed", [True, False])
def test_a_full_disk_leaves_the_checkpoint_before_and_says_so(
    path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool
) -> None:
    if existed:
        save_checkpoint(SMALL, path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dive.runs.atomic_io.os.fsync", full)
    with pytest.raises(RunError) as caught:
        save_checkpoint(SMALL | {"epoch": 4}, path)
    said = f"{path}: cannot be saved: No space left on device"
    assert str(caught.value) == said + ("; the one before is as it was" if existed else "")
    assert [entry.name for entry in path.parent.iterdir()] == (["last.ckpt"] if existed else [])
    assert not existed or same(load_checkpoint(path), SMALL)


def test_a_folder_that_cannot_be_made_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be saved: "):
        save_checkpoint(SMALL, tmp_path / "file" / "last.ckpt")


# Loading what is damaged.


def test_a_file_that_is_not_there_cannot_be_read(path: Path) -> None:
    with pytest.raises(RunError, match=r"last\.ckpt: cannot be read: No such file or directory") as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, CorruptCheckpointError)


def test_an_empty_file_is_damaged(path: Path) -> None:
    path.touch()
    with pytest.raises(CorruptCheckpointError, match=r"last\.ckpt is damaged: "):
        load_checkpoint(path)


def test_a_checkpoint_cut_off_anywhere_is_damaged(path: Path, saved: bytes) -> None:
    for length in {*range(0, len(saved), 37), *range(len(saved) - 40, len(saved))}:
        path.write_bytes(saved[:length])
        with pytest.raises(CorruptCheckpointError):
            load_checkpoint(path)


def test_a_stretch_of_zeros_is_damage_or_changes_nothing(path: Path, saved: bytes) -> None:
    harmless = 0
    for start in range(0, len(saved) - 64, 16):
        zeroed = saved[:start] + bytes(64) + saved[start + 64 :]
        path.write_bytes(zeroed)
        harmless += damaged_or_the_same(path, f"zeros at {start}")
    assert harmless < len(saved) / 16 / 2


def damaged_or_the_same(path: Path, what: str) -> bool:
    try:
        kept = load_checkpoint(path)
    except CorruptCheckpointError:
        return False
    assert same(kept, SMALL), what
    return True


def test_a_flipped_bit_is_damage_or_changes_nothing(path: Path, saved: bytes) -> None:
    draw = random.Random(0)
    found = 0
    for _ in range(400):
        place, bit = draw.randrange(len(saved)), draw.randrange(8)
        flipped = bytearray(saved)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        found += not damaged_or_the_same(path, f"bit {bit} of byte {place}")
    assert found > 0


@pytest.mark.parametrize("record", ["data.pkl", "data/0"])
def test_every_flipped_bit_of_what_is_held_is_found(path: Path, saved: bytes, record: str) -> None:
    with zipfile.ZipFile(io.BytesIO(saved)) as records:
        (name,) = (name for name in records.namelist() if name.endswith(record))
        held = records.read(name)
    start = saved.index(held)
    for place in range(start, start + len(held)):
        flipped = bytearray(saved)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(CorruptCheckpointError, match=f"is damaged: the checksum of {name} is wrong"):
            load_checkpoint(path)


# Loading what was never a checkpoint.


def test_a_text_file_is_damaged(path: Path) -> None:
    path.write_text("state_dict: {}\n")
    with pytest.raises(CorruptCheckpointError, match="not a zip file"):
        load_checkpoint(path)


def test_an_archive_of_something_else_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(RunError, match=str(path)):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2), None], ids=repr)
def test_plain_data_that_are_no_checkpoint_of_a_run_are_refused(path: Path, content: Any) -> None:
    torch.save(content, path)
    with pytest.raises(RunError, match="is refused: it is no checkpoint of a run") as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, CorruptCheckpointError)


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(path: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path.write_bytes(hostile(canary))
    with pytest.raises(
        RunError, match="is refused: a checkpoint is tensors and plain containers, and it asks for"
    ) as caught:
        load_checkpoint(path)
    assert not isinstance(caught.value, CorruptCheckpointError)
    assert "\n" not in str(caught.value)
    assert not canary.exists()
    torch.load(path, weights_only=False)  # the trap is no dud
    assert canary.exists()


def test_a_pickle_without_an_archive_is_refused_and_runs_nothing(path: Path, tmp_path: Path) -> None:
    path.write_bytes(pickle.dumps({"state_dict": Planted(tmp_path / "canary")}))
    with pytest.raises(RunError):
        load_checkpoint(path)
    assert not (tmp_path / "canary").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_any_pickle_in_a_sound_archive_is_refused_in_a_line_or_loaded(path: Path, saved: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(saved)) as records:
        payload = records.read(next(name for name in records.namelist() if name.endswith("data.pkl")))
    draw, said = random.Random(0), []
    for _ in range(400):
        changed = bytearray(payload)
        changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(packed(bytes(changed)))
        try:
            load_checkpoint(path)
        except RunError as error:
            said.append(str(error))
    assert len(said) > 200
    assert [line for line in said if "\n" in line] == []


@pytest.mark.parametrize("value", [Own(), np.float64(0.5), partial(print)], ids=lambda value: type(value).__name__)
def test_a_checkpoint_with_objects_that_others_have_saved_is_refused(path: Path, value: Any) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"x": value}}, path)
    with pytest.raises(RunError, match="is refused: "):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["_instantiator", "_class_path"])
@pytest.mark.parametrize(
    "nest",
    [
        lambda held: held,
        lambda held: {"hyper_parameters": held},
        lambda held: {"datamodule_hyper_parameters": {"a": {"b": held}}},
        lambda held: {"callbacks": [0, ({"x": held},)]},
    ],
    ids=["top", "hyperparameters", "deep", "in lists"],
)
def test_a_checkpoint_that_names_code_to_be_called_is_refused(
    path: Path, name: str, nest: Callable[[dict[str, str]], dict[str, Any]]
) -> None:
    save_checkpoint({"state_dict": {}, **nest({name: "os.system"})}, path)
    with pytest.raises(RunError, match=rf"is refused: it names code to be called \({name}\)"):
        load_checkpoint(path)


# Where to go on from.


# By Lightning.


@pytest.mark.parametrize("weights_only", [True, False, None])
def test_lightning_cannot_be_talked_into_running_code(
    tmp_path: Path, path: Path, weights_only: bool | None
) -> None:
    path.write_bytes(hostile(tmp_path / "canary"))
    with pytest.raises(RunError, match="is refused"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=weights_only)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("kind", [str, Path])
def test_lightning_reads_what_it_has_written(path: Path, kind: Callable[[Path], str | Path]) -> None:
    files = AtomicCheckpointIO()
    files.save_checkpoint(SMALL, kind(path))
    assert same(files.load_checkpoint(kind(path)), SMALL)
    with pytest.raises(RunError, match=r"extra is a .*\.Own"):
        files.save_checkpoint(SMALL | {"extra": Own()}, kind(path))


@pytest.mark.parametrize("where", ["meta", torch.device("meta"), {"cpu": "meta"}])
def test_tensors_go_where_lightning_wants_them(path: Path, where: Any) -> None:
    save_checkpoint(SMALL, path)
    assert load_checkpoint(path)["state_dict"]["w"].device.type == "cpu"
    kept = AtomicCheckpointIO().load_checkpoint(path, map_location=where)
    assert kept["state_dict"]["w"].device.type == "meta"
    assert kept["state_dict"]["w"].shape == (2, 3)
