"""The keys that the configuration of every run has, and what their values may be."""

from collections.abc import Iterator, Mapping
from typing import Any

# Keys with one object each; those in PARTIAL get their other arguments, such as the parameters, during training.
OBJECTS = ("trainer", "data", "model", "task", "optimizer")
PARTIAL = ("optimizer", "scheduler")
GROUPS = ("callbacks", "logger")  # keys with any number of named objects, or null
VALUES = ("seed", "monitor", "mode")
# Keys of `scheduler` that are not arguments of its `_target_`: when it is stepped, and the metric that it gets.
SCHEDULE_KEYS = ("interval", "monitor")
# Arguments of schedulers for which null stands for the length of the training.
SCHEDULE_LENGTHS = ("total_steps", "T_max", "total_iters")


def missing_keys(config: Mapping[str, Any]) -> list[str]:
    """The keys of a run's configuration that are missing.

    >>> missing_keys({"seed": 0, "monitor": "val/loss", "model": {}, "task": {}, "optimizer": {}})
    ['mode', 'trainer', 'data']
    """
    return [key for key in (*VALUES, *OBJECTS) if key not in config]


def find_structure_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per key of a resolved configuration that is missing, or whose value is of the wrong kind.

    Objects are not inspected further than that they have a `_target_`.
    """
    yield from (f"{key}: is missing; set {key}=..." for key in missing_keys(config) if key in VALUES)
    for key in (*OBJECTS, *(["scheduler"] if config.get("scheduler") is not None else [])):
        yield from _object_problems(config.get(key), key, f"choose one with {key}=NAME")
    yield from _schedule_problems(config.get("scheduler"))
    for group in GROUPS:
        named = config.get(group)
        if named is not None and not isinstance(named, Mapping):
            yield f"{group}={named}: must be a mapping of names to objects, or null"
        for name, node in named.items() if isinstance(named, Mapping) else ():
            if node is not None:
                yield from _object_problems(node, f"{group}.{name}", f"or null: {group}.{name}=null")
    if type(config.get("seed", 0)) is not int:
        yield f"seed={config['seed']}: must be an integer"
    if not isinstance(config.get("monitor", ""), str):
        yield f"monitor={config['monitor']}: must be the name of a metric, such as val/loss"
    if config.get("mode", "auto") not in ("min", "max", "auto"):
        yield f"mode={config['mode']}: must be min, max or auto"


def _schedule_problems(node: Any) -> Iterator[str]:
    interval, monitor = (node.get(key) for key in SCHEDULE_KEYS) if isinstance(node, Mapping) else (None, None)
    if interval not in (None, "epoch", "step"):
        yield f"scheduler.interval={interval}: must be epoch or step"
    if not isinstance(monitor, str | None):
        yield f"scheduler.monitor={monitor}: must be the name of a metric, such as val/loss"


def _object_problems(node: Any, key: str, hint: str) -> Iterator[str]:
    partial = key in PARTIAL
    if not isinstance(node, Mapping) or "_target_" not in node:
        yield f"{key}={node}: must be a mapping with a _target_; {hint}"
    elif node.get("_partial_", False) is not partial:
        yield f"{key}._partial_={node.get('_partial_', False)}: must be {str(partial).lower()}"
