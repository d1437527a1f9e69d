"""Validate a configuration before anything is built, and report all mistakes at once."""

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dive.config.allowlist import PYPROJECT, project_allowlist, resolve_target
from dive.config.path_safety import escapes_run_dir
from dive.config.ranges import RANGES, describe_range, in_range
from dive.config.renamed_keys import find_renamed_keys
from dive.config.signature import accepted_arguments, describe_type, matches_type
from dive.config.structure import SCHEDULE_KEYS, SCHEDULE_LENGTHS, find_structure_problems
from dive.errors import ConfigError, did_you_mean, printable
from dive.runs.plain_yaml import describe_non_plain

# Hydra's other special keys would bypass the signature check, or build a `_target_` later.
HYDRA_KEYS = ("_target_", "_partial_")


def validate_run_config(config: Mapping[str, Any]) -> None:
    """Check that the configuration of a run is complete, see `dive.config.structure`, and validate it.

    Raises:
        ConfigError: as in `validate_config`.
    """
    validate_config(config, find_structure_problems(config))


def validate_config(config: Mapping[str, Any], reported: Iterable[str] = ()) -> None:
    """Raise one ConfigError with a line per mistake in a resolved configuration, if there are any.

    Checks every `_target_` against the allow-list, its arguments against its signature and type hints, numbers
    against `RANGES`, values that reach outside the run directory, missing values, and packages that a class
    `requires`. Nothing is called.

    Args:
        config: the configuration.
        reported: mistakes that were found before, each beginning with its key.
    """
    if (problem := describe_non_plain(config)) is not None:
        raise ConfigError(problem)
    project_allowlist(PYPROJECT)  # reports mistakes in pyproject.toml as such, not as mistakes in a `_target_`
    problems = [*find_renamed_keys(config), *_problems(config, "")]
    problems += [line for line in reported if _key(line) not in map(_key, problems)]
    if problems:
        raise ConfigError("\n".join(map(printable, problems)))


def _problems(node: Any, key: str) -> Iterator[str]:
    limits = RANGES.get(key.rsplit(".", 1)[-1])
    if limits and node not in (None, "???") and not in_range(node, limits):
        yield f"{key}={node}: must be {describe_range(limits)}"
    elif unsafe := escapes_run_dir(key, node):
        yield f"{key}={node}: {unsafe}"
    elif isinstance(node, list):
        for i, item in enumerate(node):
            yield from _problems(item, f"{key}[{i}]")
    elif isinstance(node, Mapping):
        reported = [*_key_problems(node, key), *(_target_problems(node, key) if "_target_" in node else [])]
        yield from reported
        for name, value in node.items():
            path = f"{key}.{name}" if key else str(name)
            if not any(line.startswith(f"{path}=") for line in reported):
                yield from _problems(value, path)
    elif node == "???":
        yield f"{key}: missing mandatory value; set {key}=..."


def _key(problem: str) -> str:
    return re.split("[=:]", problem, maxsplit=1)[0]


def _key_problems(node: Mapping[Any, Any], key: str) -> Iterator[str]:
    for name, value in node.items():
        if not isinstance(name, str):
            yield f"{key}.{name}={value}: a key must be a string"
        elif name.startswith("_") and name not in HYDRA_KEYS:
            yield f"{key}.{name}={value}: {did_you_mean(name, HYDRA_KEYS)}"
        elif name == "_partial_" and not isinstance(value, bool):
            yield f"{key}.{name}={value}: must be true or false"


def _target_problems(node: Mapping[str, Any], key: str) -> Iterator[str]:
    prefix = f"{key}._target_={node['_target_']}"
    try:
        target = resolve_target(node["_target_"])
    except ConfigError as error:
        yield f"{prefix}: {error}"
        return
    package = getattr(target, "requires", None)
    if package is not None and importlib.util.find_spec(package) is None:
        yield f"{prefix}: {package} is not installed: pip install -e '.[loggers]'"
    try:
        names, hints, accepts_any = accepted_arguments(target)
    except ValueError:
        yield f"{prefix}: has no signature that can be inspected"
        return
    for name, value in node.items():
        if not isinstance(name, str) or name.startswith("_"):
            continue  # checked by _key_problems
        if key == "scheduler" and name in SCHEDULE_KEYS:
            continue  # checked by find_structure_problems
        if key.startswith("scheduler") and name in SCHEDULE_LENGTHS and name in names and value is None:
            continue
        if name not in names and not accepts_any:
            yield f"{key}.{name}={value}: {did_you_mean(name, names)}"
        elif name in RANGES and value is not None:
            continue  # the range is a stricter check than the type
        elif name in hints and not matches_type(value, hints[name]):
            yield f"{key}.{name}={value}: must be {describe_type(hints[name])}"
