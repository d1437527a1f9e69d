"""Bitwise comparison of two runs: weights, metrics and data."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dive.data.checksums import changed_names
from dive.data.datamodule import InMemoryDataModule
from dive.runs.checkpoint_io import load_checkpoint
from dive.runs.record import diff_configs, load_result
from dive.runs.run import CHECKPOINT_NAMES

TIMINGS = ("seconds", "per_second")  # parts of the names of metrics that are not reproducible
COUNTS = ("score", "best_epoch", "best_step", "epochs", "steps")


def diff_results(one: Path, other: Path) -> list[str]:
    """List the differences between the weights and metrics of two finished runs, one line per tensor or number.

    Raises:
        RunError: a checkpoint cannot be read.
    """
    metrics = [strip_timings(load_result(run)) for run in (one, other)]
    return [*_diff_weights(one, other), *diff_configs(*metrics)]


def _diff_weights(one: Path, other: Path) -> Iterator[str]:
    for name in reversed(CHECKPOINT_NAMES):
        paths = [run / "checkpoints" / name for run in (one, other)]
        exist = [path.is_file() for path in paths]
        if all(exist):
            before, after = (load_checkpoint(path)["state_dict"] for path in paths)
            for key in dict.fromkeys([*before, *after]):
                if difference := _diff_tensors(before.get(key), after.get(key)):
                    yield f"{name}: {key} {difference}"
        elif any(exist):
            yield f"{name}: saved by only one of the runs"


def _diff_tensors(before: Any, after: Any) -> str:
    if before is None or after is None:
        return "exists in only one of the runs"
    if not isinstance(before, Tensor) or not isinstance(after, Tensor):
        return "is not a tensor"
    if (before.shape, before.dtype) != (after.shape, after.dtype):
        return f"changed from {tuple(before.shape)} {before.dtype} to {tuple(after.shape)} {after.dtype}"
    if torch.equal(before, after):
        return ""
    return f"differs by up to {float((after.double() - before.double()).abs().max()):.3g}"


def changed_splits(directory: Path, data: InMemoryDataModule) -> str:
    """Describe which splits of loaded data differ from the checksums of a run; empty if none does."""
    changed = changed_names(load_result(directory).get("data_crc32", {}), data.checksums)
    return f"the {' and '.join(changed)} split of {data.name} differs from the run's" if changed else ""


def strip_timings(result: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics and counts in a ``result.json``, without timings.

    >>> strip_timings({"steps": 3, "seconds": 2.5, "metrics": {"best": {"val/acc": 0.5, "samples_per_second": 9}}})
    {'best val/acc': 0.5, 'steps': 3}
    """
    return strip_timing_metrics(result) | {name: result[name] for name in COUNTS if name in result}


def strip_timing_metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics in a ``result.json``, without timings: ``best val/acc``, ..., ``final val/acc``, ..."""
    return {
        f"{which} {name}": value
        for which, row in result.get("metrics", {}).items()
        for name, value in row.items()
        if not any(timing in name for timing in TIMINGS)
    }
