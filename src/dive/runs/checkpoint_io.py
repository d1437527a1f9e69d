"""Checkpoint files: written atomically, verified by checksum, and loaded as data that cannot run code."""

import io
import pickle
import re
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from dive.errors import RunError, printable
from dive.runs.atomic_io import atomic_write
from dive.runs.callback_paths import relocate_paths
from dive.runs.checkpoint_schema import LIGHTNING_VERSION, Checkpoint, find_container_problem, find_content_problem

# The types of dive's checkpoints; torch.load accepts all of them with weights_only=True.
PLAIN_TYPES = (bool, int, float, str, bytes, type(None), torch.Tensor, torch.Size, torch.dtype, torch.device)
MAPPING_TYPES = (dict, OrderedDict, Counter)

DOS_FOLDER = 0x10  # an attribute of the records in a zip file


class CorruptCheckpointError(RunError):
    """A checkpoint is truncated, or its bytes have changed since it was written."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint plugin, on top of `save_checkpoint` and `load_checkpoint`.

    Args:
        run: the run directory; nothing outside it is removed, whatever the state in a checkpoint says.
    """

    def __init__(self, run: Path) -> None:
        self.run = run

    def save_checkpoint(self, checkpoint: Checkpoint, path: str | Path, storage_options: Any = None) -> None:
        """Save a checkpoint with `save_checkpoint`; `storage_options` are ignored."""
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> Checkpoint:
        """Load a checkpoint with `load_checkpoint`, with the paths in callback states moved to this run.

        Raises:
            RunError: as in `load_checkpoint`, or the checkpoint was not saved by Lightning.
        """
        checkpoint = load_checkpoint(Path(path), map_location)
        if LIGHTNING_VERSION not in checkpoint:
            raise RunError(f"{path} is rejected: it has no {LIGHTNING_VERSION}")
        return relocate_paths(checkpoint, self.run / "checkpoints")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint file of this run.

        Raises:
            RunError: the path is not below the run directory.
        """
        if not Path(path).resolve().is_relative_to(self.run.resolve()):
            raise RunError(f"{path} is not removed: it is not in the run directory {self.run}")
        Path(path).unlink(missing_ok=True)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Save a checkpoint of plain containers and tensors atomically, and flush it to disk.

    The directory is created. A serialized copy of the checkpoint is held in memory while it is written.

    Raises:
        RunError: the checkpoint contains other types, or cannot be written; an earlier file is unchanged.
    """
    if (problem := next(_unsupported_values(checkpoint, ""), None)) is not None:
        raise RunError(
            f"{path}: not saved: checkpoints may contain only tensors and plain containers, but {problem}"
        )
    content = io.BytesIO()
    torch.save(checkpoint, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, content.getbuffer(), durable=True)
    except OSError as error:
        previous = "; the previous checkpoint is unchanged" if path.is_file() else ""
        raise RunError(f"{path}: cannot be saved: {error.strerror}{previous}") from error


def _unsupported_values(value: Any, key: str) -> Iterator[str]:
    kind = type(value)
    if kind in MAPPING_TYPES:
        for name, item in value.items():
            yield from _unsupported_values(name, f"a key of {key}")
            yield from _unsupported_values(item, f"{key}.{name}" if key else str(name))
    elif kind in (list, tuple, set):
        for i, item in enumerate(value):
            yield from _unsupported_values(item, f"{key}[{i}]")
    # Checking the module excludes subclasses, such as np.float64, a subclass of float.
    elif not isinstance(value, PLAIN_TYPES) or kind.__module__.partition(".")[0] not in ("builtins", "torch"):
        yield f"{key} is a {kind.__module__}.{kind.__qualname__}"


def load_checkpoint(path: Path, map_location: Any = None) -> Checkpoint:
    """Load and verify a checkpoint; `map_location` is that of `torch.load`, None is the CPU.

    Raises:
        CorruptCheckpointError: the file is truncated, or its bytes have changed.
        RunError: the file cannot be read, or contains more than tensors and plain containers.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        # torch.load does not verify the checksums that torch.save writes.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                # For a record that is marked as a folder, torch would return uninitialized memory.
                if entry.compress_type != zipfile.ZIP_STORED or entry.external_attr & DOS_FOLDER:
                    raise zipfile.BadZipFile(f"{printable(entry.filename)} is compressed or a folder")
            if sum(entry.file_size for entry in archive.infolist()) > len(content):
                raise zipfile.BadZipFile("its records overlap")
            if (record := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"checksum mismatch in {printable(record)}")
    except (zipfile.BadZipFile, struct.error, OSError, EOFError, ValueError, RuntimeError, OverflowError) as error:
        raise CorruptCheckpointError(f"{path} is corrupt: {printable(str(error))}") from error
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location or "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reference = re.search(r"GLOBAL (\S+)", str(error))
        problem = f"references {printable(reference[1])}" if reference else "cannot be unpickled"
        raise RunError(
            f"{path} is rejected: checkpoints may contain only tensors and plain containers, but it {problem}"
        ) from error
    except RuntimeError as error:
        raise CorruptCheckpointError(
            f"{path} is corrupt: {printable(str(error).partition(chr(10))[0])}"
        ) from error
    except (LookupError, ValueError, TypeError, AttributeError, AssertionError, EOFError, RecursionError) as error:
        # The checksums match, so the file was already invalid when it was written.
        raise RunError(f"{path} is rejected: its content is invalid ({type(error).__name__})") from error
    if mistake := find_container_problem(checkpoint) or find_content_problem(checkpoint):
        raise RunError(f"{path} is rejected: {printable(' '.join(mistake.split()))}")
    return cast(Checkpoint, checkpoint)
