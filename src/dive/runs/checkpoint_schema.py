"""What a checkpoint contains, so that one from somebody else is rejected in one line before it is used."""

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from packaging.version import InvalidVersion, Version
from torch import Tensor
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

Checkpoint = dict[str, Any]
LIGHTNING_VERSION = "pytorch-lightning_version"
LEVELS = ("ready", "started", "processed", "completed")  # of progress, in Lightning


class RngStates(TypedDict):
    """See `dive.runs.rng_state.get_rng_state`."""

    python: list[int | Tensor | float | None]
    numpy: list[Tensor | int | float]
    torch: Tensor
    cuda: list[Tensor]


# The keys that Lightning and dive read; a checkpoint may have others.
CONTENT: dict[str, Any] = {
    "callbacks": dict[str, Any],
    "config": dict[str, Any] | None,
    "data_crc32": dict[str, str],
    "epoch": int,
    "global_step": int,
    "loops": dict[str, dict[str, Any]],
    "lr_schedulers": list[dict[str, Any]],
    "means": dict[str, Any],
    "optimizer_states": list[dict[str, Any]],
    LIGHTNING_VERSION: str,
    "random": RngStates,
    "schedule_length": int | None,
    "state_dict": dict[str, Any],
}


def find_content_problem(checkpoint: Any) -> str | None:
    """What is wrong with the content of a checkpoint; None if it may be used."""
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        return "it is not the checkpoint of a run"
    for key in CONTENT.keys() & checkpoint.keys():
        try:
            check_type(checkpoint[key], CONTENT[key], collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
        except TypeCheckError as error:
            return f"{key}: {error}"
    try:
        Version(checkpoint.get(LIGHTNING_VERSION, "0"))
    except InvalidVersion as error:
        return f"{LIGHTNING_VERSION}: {error}"
    return next(_invalid_progress(checkpoint.get("loops", {}), "loops"), None)


def _invalid_progress(node: Mapping[str, Any], key: str) -> Iterator[str]:
    for name, value in node.items():
        path = f"{key}.{name}"
        if isinstance(value, Mapping) and name not in LEVELS:
            yield from _invalid_progress(value, path)
        elif "progress" in path and not (isinstance(value, int) and value >= 0):
            yield f"{path}: is not a count"


def completed_epochs(checkpoint: Checkpoint) -> int:
    """The number of completed epochs.

    Raises:
        LookupError: the checkpoint does not contain it.
    """
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
