"""The recorded configuration, environment and result of a run, and how two configurations differ."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dive.errors import CorruptRecordError, printable
from dive.runs.lock import is_locked
from dive.runs.plain_yaml import load_plain
from dive.runs.record_schema import EnvironmentRecord, ResultRecord, read_json, read_text

Config = dict[str, Any]
Result = dict[str, Any]

# Keys that say how a run was started, not what it computes: two runs that differ only in these are the same.
NON_IDENTITY_KEYS = ("resume", "sweep", "tune", "find_lr", "find_batch_size")

URL = re.compile(r"(?!pkg:)[a-z][a-z0-9+.-]*:(//|:)", re.IGNORECASE)  # also fsspec's "simplecache::"


def comparable_config(config: Config) -> Config:
    """A configuration without its `NON_IDENTITY_KEYS` and its URLs: the content of a download is verified."""
    return {key: without_urls(value) for key, value in config.items() if key not in NON_IDENTITY_KEYS}


def without_urls(node: Any) -> Any:
    """A recorded configuration with null in place of URLs: a run from somebody else must not choose a server.

    >>> without_urls({"mirror": "https://example.org", "path": "pkg://dive.data/house_tiny.csv"})
    {'mirror': None, 'path': 'pkg://dive.data/house_tiny.csv'}
    """
    if isinstance(node, Mapping):
        return {key: without_urls(value) for key, value in node.items()}
    if isinstance(node, list):
        return [without_urls(value) for value in node]
    return None if isinstance(node, str) and URL.match(node) else node


def fingerprint(config: Config) -> str:
    """A string that is equal for two configurations if and only if they define the same run."""
    return json.dumps(comparable_config(config), sort_keys=True, default=str)


def read_config(directory: Path) -> Config:
    """Read the ``config.yaml`` of a run.

    Raises:
        FileNotFoundError: there is none.
        CorruptRecordError: it is not a mapping of plain data.
    """
    path = directory / "config.yaml"
    try:
        config = load_plain(read_text(path))
    except ValueError as error:
        raise CorruptRecordError(f"{path} is corrupt: {error}") from error
    if not isinstance(config, dict):
        raise CorruptRecordError(f"{path} is corrupt: it is not a mapping")
    for key in _non_string_keys(config):
        raise CorruptRecordError(f"{path} is corrupt: the key {key} is not a string")
    return config


def _non_string_keys(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        yield from (key for key in node if not isinstance(key, str))
        node = list(node.values())
    if isinstance(node, list):
        for value in node:
            yield from _non_string_keys(value)


def load_config(directory: Path) -> Config | None:
    """Read a configuration as `read_config` does; None if it is missing or damaged."""
    with suppress(FileNotFoundError, CorruptRecordError):
        return read_config(directory)
    return None


def load_result(directory: Path) -> Result:
    """Load the ``result.json`` of a run.

    Without one, the status of a run that has started is ``running``, though it may have been killed. If it is
    damaged, the status is ``damaged``, and ``error`` is the reason.
    """
    try:
        return read_json(directory / "result.json", ResultRecord)
    except FileNotFoundError:
        return {"status": "running" if (directory / "config.yaml").exists() else "not started"}
    except CorruptRecordError as error:
        return {"status": "damaged", "error": str(error)}


def load_result_or_partial(directory: Path) -> dict[str, Any]:
    """Load a result as `load_result` does; a run without a process, as after ``kill -9``, is ``interrupted``."""
    result = load_result(directory)
    if result["status"] == "running" and not is_locked(directory):
        return {"status": "interrupted"}
    return result


def to_json(value: Any) -> Any:
    """Convert plain containers to JSON types: NaN and infinities, which JSON does not have, become null.

    >>> to_json({"val/acc": 0.5, "val/loss": float("nan")})
    {'val/acc': 0.5, 'val/loss': None}
    """
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_environment(directory: Path) -> dict[str, Any]:
    """Load the ``environment.json`` of a run; empty if it is missing or damaged."""
    with suppress(FileNotFoundError, CorruptRecordError):
        return read_json(directory / "environment.json", EnvironmentRecord)
    return {}


def diff_configs(old: Config, new: Config) -> list[str]:
    """Format the differences of two configurations, one line per key.

    >>> diff_configs({"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.3}, "seed": 0})
    ['optimizer.lr: 0.1 -> 0.3']
    """
    before, after = dict(flatten(comparable_config(old))), dict(flatten(comparable_config(new)))
    pairs = {key: (before.get(key, "(none)"), after.get(key, "(none)")) for key in [*before, *after]}
    return [
        printable(f"{key}: {a} -> {b}")
        for key, (a, b) in pairs.items()
        if json.dumps(a, default=str) != json.dumps(b, default=str)
    ]


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all values, with nested keys joined by dots.

    >>> dict(flatten({"optimizer": {"lr": 0.1}, "w": [2, -3.4]}))
    {'optimizer.lr': 0.1, 'w': [2, -3.4]}
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
