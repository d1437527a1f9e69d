"""Checkpoints: written whole or not at all, and read as data, never as code."""

import io
import pickle
import re
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dive.errors import RunError
from dive.runs.atomic_io import atomic_write

Checkpoint = dict[str, Any]

# What torch.load takes with weights_only=True, as far as checkpoints of ours need it.
PLAIN_TYPES = (bool, int, float, str, bytes, type(None), torch.Tensor, torch.Size, torch.dtype, torch.device)
MAPPING_TYPES = (dict, OrderedDict, Counter)

# Hyperparameters by which Lightning's `load_from_checkpoint` is told what to import and call.
CALLABLE_KEYS = ("_instantiator", "_class_path")


class CorruptCheckpointError(RunError):
    """A checkpoint is not what was once written."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoints, by `save_checkpoint` and `load_checkpoint`."""

    def save_checkpoint(self, checkpoint: Checkpoint, path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint with `save_checkpoint`; there are no storage options."""
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> Checkpoint:
        """Read one with `load_checkpoint`, whatever `weights_only` says."""
        return load_checkpoint(Path(path), map_location)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint beside its place, have it on the disk, then move it there.

    Args:
        checkpoint: plain containers and tensors. It is held in memory a second time meanwhile.
        path: its folder is made.

    Raises:
        RunError: it holds something else, or it cannot be written; what was at `path` is as it was.
    """
    if (strange := next(_not_plain(checkpoint, ""), None)) is not None:
        raise RunError(f"{path}: not saved, a checkpoint holds plain containers and tensors, and {strange}")
    content = io.BytesIO()
    torch.save(checkpoint, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content.getbuffer(), durable=True)
    except OSError as error:
        before = "; the one before is as it was" if path.is_file() else ""
        raise RunError(f"{path}: cannot be saved: {error.strerror}{before}") from error


def _not_plain(value: Any, key: str) -> Iterator[str]:
    if type(value) in MAPPING_TYPES:
        for name, item in value.items():
            yield from _not_plain(name, f"a key of {key}")
            yield from _not_plain(item, f"{key}.{name}" if key else str(name))
    elif type(value) in (list, tuple, set):
        for i, item in enumerate(value):
            yield from _not_plain(item, f"{key}[{i}]")
    elif not isinstance(value, PLAIN_TYPES) or type(value).__module__.partition(".")[0] not in (
        "builtins",
        "torch",
    ):
        yield f"{key} is a {type(value).__module__}.{type(value).__qualname__}"


def load_checkpoint(path: Path, map_location: Any = None) -> Checkpoint:
    """Read a checkpoint, checked, as tensors and plain containers.

    Args:
        path: of the file.
        map_location: where tensors go, as `torch.load` takes it; None is the processor.

    Raises:
        DamagedError: it was cut off, or bytes of it have changed.
        RunError: it cannot be read, or holds more than tensors and plain containers.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        # torch itself does not look at the checksums that it writes.
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            broken = records.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise CorruptCheckpointError(f"{path} is damaged: {error}") from error
    if broken is not None:
        raise CorruptCheckpointError(f"{path} is damaged: the checksum of {broken} is wrong")
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        what = f"asks for {named[1]}" if named else "cannot be read as such"
        raise RunError(
            f"{path} is refused: a checkpoint is tensors and plain containers, and it {what}"
        ) from error
    except RuntimeError as error:
        raise CorruptCheckpointError(f"{path} is damaged: {str(error).partition(chr(10))[0]}") from error
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError, EOFError) as error:
        # Its checksums are right: somebody has made it so.
        raise RunError(f"{path} is refused: it makes no sense ({type(error).__name__})") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise RunError(f"{path} is refused: it is no checkpoint of a run")
    if (call := next(_calls(checkpoint), None)) is not None:
        raise RunError(f"{path} is refused: it names code to be called ({call})")
    return checkpoint


def _calls(checkpoint: Any) -> Iterator[str]:
    if isinstance(checkpoint, Mapping):
        yield from (name for name in CALLABLE_KEYS if name in checkpoint)
        for value in checkpoint.values():
            yield from _calls(value)
    elif isinstance(checkpoint, list | tuple):
        for value in checkpoint:
            yield from _calls(value)
