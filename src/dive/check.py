"""Whether a configuration can be run, told before anything is built: all that is wrong with it at once."""

import importlib
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from dive.errors import ConfigError, suggestion

# What a configuration may build: things that live below these names. A team adds its own package here.
ALLOWED = ("dive.", "torch.nn.", "torch.optim.", "pytorch_lightning.", "torchmetrics.")

# Where a number of this name must lie, wherever it stands in the configuration; {} holds whole numbers only.
LIMITS = {
    "batch_size": "{1, inf}",
    "draw_seed": "{0, inf}",
    "dropout": "[0, 1)",
    "gamma": "(0, inf)",
    "gradient_clip_val": "[0, inf)",
    "lr": "(0, inf)",
    "max_epochs": "{1, inf}",
    "momentum": "[0, inf)",
    "noise": "[0, inf)",
    "num_test": "{1, inf}",
    "num_train": "{1, inf}",
    "num_val": "{1, inf}",
    "num_workers": "{0, inf}",
    "patience": "{0, inf}",
    "seed": "{0, 4294967295}",
    "sigma": "[0, inf)",
    "step_size": "{1, inf}",
    "val_size": "{0, inf}",
    "weight_decay": "[0, inf)",
}


def check(config: Mapping[str, Any]) -> None:
    """Raise one ConfigError with a line for each mistake in a resolved configuration, if there are any.

    Checked are: every `_target_` against `ALLOWED`, its arguments against its signature and annotations, numbers
    against `LIMITS`, and values still missing. Nothing is called.
    """
    problems = list(_problems(config, ""))
    if problems:
        raise ConfigError("\n".join(problems))


def _problems(node: Any, key: str) -> Iterator[str]:
    limits = LIMITS.get(key.rsplit(".", 1)[-1])
    if limits and node not in (None, "???") and not within(node, limits):
        yield f"{key}={node}: must be {wanted(limits)}"
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _problems(item, f"{key}[{i}]")
    elif isinstance(node, Mapping):
        broken = list(_target_problems(node, key)) if "_target_" in node else []
        yield from broken
        for name, value in node.items():
            path = f"{key}.{name}" if key else str(name)
            if not any(line.startswith(f"{path}=") for line in broken):
                yield from _problems(value, path)
    elif node == "???":
        yield f"{key}: a value is missing; give one with {key}=..."


def wanted(limits: str) -> str:
    """An interval in words.

    >>> wanted("(0, inf)"), wanted("{1, inf}")
    ('a number in (0, inf)', 'a whole number of at least 1')
    """
    if limits[0] != "{":
        return f"a number in {limits}"
    low, high = limits[1:-1].split(", ")
    return f"a whole number of at least {low}" + ("" if high == "inf" else f" and at most {high}")


def within(value: Any, limits: str) -> bool:
    """Whether a number lies in an interval.

    >>> within(0, "[0, 1)"), within(1, "[0, 1)"), within("a", "[0, 1)"), within(1.5, "{1, inf}")
    (True, False, False, False)
    """
    numbers = int if limits[0] == "{" else int | float
    if isinstance(value, bool) or not isinstance(value, numbers) or value != value:
        return False
    low, high = (float(bound) for bound in limits[1:-1].split(","))
    above = value > low if limits[0] == "(" else value >= low
    return above and (value < high if limits[-1] == ")" else value <= high)


def _target_problems(node: Mapping[str, Any], key: str) -> Iterator[str]:
    try:
        target = locate(node["_target_"])
    except ConfigError as error:
        yield f"{key}._target_={node['_target_']}: {error}"
        return
    called = target.__init__ if inspect.isclass(target) else target
    try:
        parameters = inspect.signature(called).parameters
    except ValueError:
        yield f"{key}._target_={node['_target_']}: is not made to be called"
        return
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    names = [name for name in parameters if name not in ("self", "args", "kwargs")]
    hints = _hints(called)
    for name, value in node.items():
        if name in ("_target_", "_partial_"):
            continue
        if name not in names and (not takes_any or name.startswith("_")):
            yield f"{key}.{name}={value}: {suggestion(name, names)}"
        elif name in hints and not _matches(value, hints[name]):
            yield f"{key}.{name}={value}: must be {_in_words(hints[name])}"


def locate(path: str) -> Callable[..., Any]:
    """The class or function that a `_target_` names, imported only if it is allowed by name and by origin.

    Raises:
        ConfigError: it is not below one of `ALLOWED`, is an alias of something that is not, or does not exist.
    """
    allowed = ", ".join(f"{prefix}*" for prefix in ALLOWED)
    if not isinstance(path, str) or not path.startswith(ALLOWED):
        raise ConfigError(f"not allowed; allowed are {allowed}")
    module_name, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"does not exist ({error})") from error
    if not callable(target) or not f"{target.__module__}.{target.__qualname__}".startswith(ALLOWED):
        raise ConfigError(f"stands for something that is not allowed; allowed are {allowed}")
    return typing.cast(Callable[..., Any], target)


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


def _in_words(hint: Any) -> str:
    name = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return name.replace("collections.abc.", "").replace("typing.", "").replace("NoneType", "None")
