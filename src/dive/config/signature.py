"""Which arguments a class or function accepts, and which YAML values match their type hints."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from torch import Tensor
from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

# Singular and plural.
TYPE_NAMES: dict[Any, tuple[str, str]] = {
    bool: ("true or false", "booleans"),
    float: ("a number", "numbers"),
    int: ("an integer", "integers"),
    str: ("a string", "strings"),
    NoneType: ("null", "nulls"),
}
NON_YAML_TYPES = (Tensor, PathLike[str], Path)


def accepted_arguments(target: Callable[..., Any]) -> tuple[list[str], dict[str, Any], bool]:
    """Return the names of all arguments, their type hints, and whether arbitrary further ones are accepted.

    ``**kwargs`` of a class stand for the arguments of its parent.

    Raises:
        ValueError: the signature cannot be inspected.
    """
    classes = inspect.getmro(target) if inspect.isclass(target) else ()
    constructors = [vars(cls)["__init__"] for cls in classes if "__init__" in vars(cls)]
    names: dict[str, None] = {}
    hints: dict[str, Any] = {}
    for function in constructors or [target]:
        parameters = inspect.signature(function).parameters
        names |= dict.fromkeys(name for name in parameters if name not in ("self", "args", "kwargs"))
        hints = _type_hints(function) | hints
        catch_all = next((name for name, p in parameters.items() if p.kind is p.VAR_KEYWORD), None)
        if catch_all is None:
            return list(names), hints, False
        names.pop(catch_all, None)
        hints.pop(catch_all, None)
    return list(names), hints, True


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # annotations that exist only for type checkers
        return {}


def matches_type(value: Any, hint: Any) -> bool:
    """Whether a YAML value matches a type hint; mappings with a `_target_`, which are still to be built, do."""
    if value == "???" or _is_to_be_built(value):
        return True
    if isinstance(value, list) and any(isinstance(item, bool) for item in value):
        return False
    if isinstance(value, bool) and hint in (int, float):
        return False
    # YAML has no tuples: a list may stand for one.
    for candidate in [value, tuple(value)] if isinstance(value, list) else [value]:
        try:
            check_type(candidate, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
            return True
        except TypeCheckError:
            continue
    return False


def _is_to_be_built(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_to_be_built, value))
    return isinstance(value, Mapping) and "_target_" in value


def describe_type(hint: Any) -> str:
    """Describe a type hint in the terms of YAML.

    >>> describe_type(float | None), describe_type(Sequence[int])
    ('a number or null', 'a list of integers')
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
