"""Whether two runs have come to the same, to the bit: weights and metrics; and whether their data are the same."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dive.data.checksums import split_checksums
from dive.data.datamodule import InMemoryDataModule
from dive.runs.checkpoint_io import load_checkpoint
from dive.runs.record import load_result
from dive.runs.run import CHECKPOINT_NAMES

CLOCKS = ("seconds", "per_second")
COUNTS = ("score", "best_epoch", "epochs", "steps")


def diff_results(one: Path, other: Path) -> list[str]:
    """Where the weights and metrics of two runs differ, one line a tensor or number; empty where all are the same.

    Args:
        one: directory of a finished run.
        other: likewise.

    Raises:
        RunError: a checkpoint cannot be read.
    """
    return [*_weights_apart(one, other), *_metrics_apart(load_result(one), load_result(other))]


def _weights_apart(one: Path, other: Path) -> Iterator[str]:
    for name in reversed(CHECKPOINT_NAMES):
        paths = [run / "checkpoints" / name for run in (one, other)]
        kept = [path.is_file() for path in paths]
        if all(kept):
            before, after = (load_checkpoint(path)["state_dict"] for path in paths)
            for key in dict.fromkeys([*before, *after]):
                if apart := _tensors_apart(before.get(key), after.get(key)):
                    yield f"{name}: {key} {apart}"
        elif any(kept):
            yield f"{name}: kept by one of them only"


def _tensors_apart(before: Tensor | None, after: Tensor | None) -> str:
    if before is None or after is None:
        return "is in one of them only"
    if (before.shape, before.dtype) != (after.shape, after.dtype):
        return f"is {tuple(before.shape)} {before.dtype}, then {tuple(after.shape)} {after.dtype}"
    if torch.equal(before, after):
        return ""
    return f"differs by up to {float((after.double() - before.double()).abs().max()):.3g}"


def _metrics_apart(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    then, now = (strip_timings(result) for result in (before, after))
    for name in dict.fromkeys([*then, *now]):
        if name not in then or name not in now or then[name] != now[name]:
            yield f"{name}: {then.get(name, '(none)')} -> {now.get(name, '(none)')}"


def changed_splits(directory: Path, data: InMemoryDataModule) -> str:
    """Which splits of a set are not those that a run has recorded; empty where all are, or none was recorded.

    Args:
        directory: of the run.
        data: loaded.
    """
    then, now = load_result(directory).get("data_crc32", {}), split_checksums(data.splits)
    others = [split for split in now if then.get(split, now[split]) != now[split]]
    return f"the {' and '.join(others)} split of {data.name} is not the one of the run" if others else ""


def strip_timings(result: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``result.json`` holds of metrics and counts, without clocks.

    >>> strip_timings({"steps": 3, "seconds": 2.5, "metrics": {"best": {"val/acc": 0.5, "samples_per_second": 9}}})
    {'best val/acc': 0.5, 'steps': 3}
    """
    return strip_timing_metrics(result) | {name: result[name] for name in COUNTS if name in result}


def strip_timing_metrics(result: Mapping[str, Any]) -> dict[str, Any]:
    """Of that the metrics: ``best val/acc``, ..., ``final val/acc``, ..."""
    return {
        f"{which} {name}": value
        for which, row in result.get("metrics", {}).items()
        for name, value in row.items()
        if not any(word in name for word in CLOCKS)
    }
