"""Whether a configuration can be run, told before anything is built: all that is wrong with it at once."""

import importlib.util
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from torch import Tensor
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from dive.config.allowlist import PYPROJECT, project_allowlist, resolve_target
from dive.config.path_safety import escapes_run_dir
from dive.config.ranges import RANGES, describe_range, in_range
from dive.config.renamed_keys import find_renamed_keys
from dive.errors import ConfigError, did_you_mean

# What Hydra may be told. Its other keys would go around signatures, or let a `_target_` be built later.
HYDRA_KEYS = ("_target_", "_partial_")

# Types as one and as several, and those that no YAML can write.
TYPE_NAMES: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "truth values"),
    float: ("a number", "numbers"),
    int: ("a whole number", "whole numbers"),
    str: ("text", "texts"),
    NoneType: ("null", "nulls"),
}
NON_YAML_TYPES = (Tensor, PathLike[str], Path)


def validate_config(config: Mapping[str, Any]) -> None:
    """Raise one ConfigError with a line for each mistake in a resolved configuration, if there are any.

    Checked are: every `_target_` against what is allowed, its arguments against its signature and annotations,
    numbers against `LIMITS`, values that reach out of the run, values still missing, and packages that a class
    `requires`. Nothing is called.
    """
    project_allowlist(PYPROJECT)  # a mistake there is no target's
    problems = [*find_renamed_keys(config), *_problems(config, "")]
    if problems:
        raise ConfigError("\n".join(problems))


def _problems(node: Any, key: str) -> Iterator[str]:
    limits = RANGES.get(key.rsplit(".", 1)[-1])
    if limits and node not in (None, "???") and not in_range(node, limits):
        yield f"{key}={node}: must be {describe_range(limits)}"
    elif wrong := escapes_run_dir(key, node):
        yield f"{key}={node}: {wrong}"
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _problems(item, f"{key}[{i}]")
    elif isinstance(node, Mapping):
        broken = [*_key_problems(node, key), *(_target_problems(node, key) if "_target_" in node else [])]
        yield from broken
        for name, value in node.items():
            path = f"{key}.{name}" if key else str(name)
            if not any(line.startswith(f"{path}=") for line in broken):
                yield from _problems(value, path)
    elif node == "???":
        yield f"{key}: a value is missing; give one with {key}=..."


def _key_problems(node: Mapping[Any, Any], key: str) -> Iterator[str]:
    for name, value in node.items():
        if not isinstance(name, str):
            yield f"{key}.{name}={value}: a key must be text"
        elif name.startswith("_") and name not in HYDRA_KEYS:
            yield f"{key}.{name}={value}: {did_you_mean(name, HYDRA_KEYS)}"
        elif name == "_partial_" and not isinstance(value, bool):
            yield f"{key}.{name}={value}: must be true or false"


def _target_problems(node: Mapping[str, Any], key: str) -> Iterator[str]:
    try:
        target = resolve_target(node["_target_"])
    except ConfigError as error:
        yield f"{key}._target_={node['_target_']}: {error}"
        return
    needed = getattr(target, "requires", None)
    if needed is not None and importlib.util.find_spec(needed) is None:
        yield f"{key}._target_={node['_target_']}: {needed} is not installed: pip install -e '.[loggers]'"
    try:
        names, hints, takes_any = _arguments(target)
    except ValueError:
        yield f"{key}._target_={node['_target_']}: is not made to be called"
        return
    for name, value in node.items():
        if not isinstance(name, str) or name.startswith("_"):
            continue  # judged as a key
        if name not in names and not takes_any:
            yield f"{key}.{name}={value}: {did_you_mean(name, names)}"
        elif name in RANGES and value is not None:
            continue  # a number's limits say more than its type
        elif name in hints and not _matches(value, hints[name]):
            yield f"{key}.{name}={value}: must be {describe_type(hints[name])}"


def _arguments(target: Callable[..., Any]) -> tuple[list[str], dict[str, Any], bool]:
    # Names, annotations, and whether others are taken too. What a class takes as **kwargs goes on to its parent.
    kinds = inspect.getmro(target) if inspect.isclass(target) else ()
    constructors = [vars(kind)["__init__"] for kind in kinds if "__init__" in vars(kind)]
    names: dict[str, None] = {}
    hints: dict[str, Any] = {}
    for called in constructors or [target]:
        parameters = inspect.signature(called).parameters
        names |= dict.fromkeys(name for name in parameters if name not in ("self", "args", "kwargs"))
        hints = _hints(called) | hints
        catch_all = [name for name, p in parameters.items() if p.kind is p.VAR_KEYWORD]
        if not catch_all:
            return list(names), hints, False
        names.pop(catch_all[0], None)
        hints.pop(catch_all[0], None)
    return list(names), hints, True


def _hints(called: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(called)
    except (NameError, TypeError):  # annotations that exist only for type checkers
        return {}


def _matches(value: Any, hint: Any) -> bool:
    if isinstance(value, Mapping) or value == "???":  # an object still to be built, or to be given
        return True
    if isinstance(value, list) and any(isinstance(item, bool) for item in value):
        return False
    if isinstance(value, bool) and hint in (int, float):
        return False
    # YAML has lists only: one also stands for a tuple.
    for candidate in [value, tuple(value)] if isinstance(value, list) else [value]:
        try:
            check_type(candidate, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
            return True
        except TypeCheckError:
            continue
    return False


def describe_type(hint: Any) -> str:
    """What a type hint asks for, in the words of whoever writes YAML.

    >>> describe_type(float | None), describe_type(Sequence[int])
    ('a number or null', 'a list of whole numbers')
    """
    arguments = typing.get_args(hint)
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(dict.fromkeys(describe_type(kind) for kind in arguments if kind not in NON_YAML_TYPES))
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(str(value) for value in arguments)
    if typing.get_origin(hint) in (list, tuple, Sequence) and arguments[0] in TYPE_NAMES:
        return f"a list of {TYPE_NAMES[arguments[0]][1]}"
    if hint in TYPE_NAMES:
        return TYPE_NAMES[hint][0]
    return getattr(hint, "__name__", str(hint)) if not arguments else str(hint)
