"""What a checkpoint contains, so that one from somebody else is rejected in one line before it is used."""

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict

from packaging.version import InvalidVersion, Version
from torch import Tensor
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

Checkpoint = dict[str, Any]
LIGHTNING_VERSION = "pytorch-lightning_version"
LEVELS = ("ready", "started", "processed", "completed")  # of progress, in Lightning

MAX_VALUES, MAX_DEPTH = 10**7, 100
# Hyperparameters that make Lightning's `load_from_checkpoint` import and call what they name.
CALLABLE_KEYS = ("_instantiator", "_class_path")


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


def find_container_problem(checkpoint: Any) -> str | None:
    """What is wrong with the nesting of a checkpoint; None if it can be traversed recursively.

    Pickled containers can share or contain each other, so that a small file has an unlimited number of values.
    """
    stack: list[tuple[Any, int]] = [([checkpoint], 0)]
    values = 0
    while stack:
        node, depth = stack.pop()
        values += len(node)
        if depth > MAX_DEPTH:
            return f"it is nested more than {MAX_DEPTH} levels deep"
        if values > MAX_VALUES:
            return f"it has more than {MAX_VALUES} values"
        if isinstance(node, Mapping):
            if name := next((name for name in CALLABLE_KEYS if name in node), None):
                return f"it names code to call ({name})"
            node = [*node, *node.values()]
        stack += [(item, depth + 1) for item in node if isinstance(item, Mapping | list | tuple | set)]
    return None


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
        if Version(checkpoint.get(LIGHTNING_VERSION, "2")) < Version("2"):
            return f"{LIGHTNING_VERSION}: is below 2"
    except InvalidVersion as error:
        return f"{LIGHTNING_VERSION}: {error}"
    if checkpoint.get("global_step", 0) < 0 or checkpoint.get("epoch", 0) < -1:
        return "global_step and epoch must not be negative"
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
