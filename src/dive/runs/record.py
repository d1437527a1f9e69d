"""What a run's directory says of it: its configuration, its result, and how two configurations differ."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dive.runs.lock import is_locked

Config = dict[str, Any]

# How a run came about, not what it is: two runs that differ in these alone are the same.
NON_IDENTITY_KEYS = ("resume", "sweep", "tune", "find_lr", "find_batch_size")

# The same, written in C, ten times as fast: a sweep may have a thousand jobs.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def comparable_config(config: Config) -> Config:
    """A configuration without the `NON_IDENTITY_KEYS` of its run."""
    return {key: value for key, value in config.items() if key not in NON_IDENTITY_KEYS}


def fingerprint(config: Config) -> str:
    """A text that is the same for the same runs, and for those only."""
    return json.dumps(comparable_config(config), sort_keys=True, default=str)


def load_config(directory: Path) -> Config | None:
    """What a run's ``config.yaml`` holds; None where there is none that can be read."""
    try:
        config = yaml.load((directory / "config.yaml").read_text(), YAML_LOADER)
    except (FileNotFoundError, yaml.YAMLError):
        return None
    return config if isinstance(config, dict) else None


def load_result(directory: Path) -> dict[str, Any]:
    """What a run's ``result.json`` holds; a run without a sound one has the status ``running``, or was cut off."""
    result = _mapping(directory / "result.json")
    rows = result.get("metrics", {})
    if isinstance(result.get("status"), str) and isinstance(rows, dict) and all(map(_is_mapping, rows.values())):
        return result
    return {"status": "running" if (directory / "config.yaml").exists() else "missing"}


def load_result_or_partial(directory: Path) -> dict[str, Any]:
    """The same, with the status ``interrupted`` where nobody is at the run any more, as after ``kill -9``."""
    result = load_result(directory)
    if result["status"] == "running" and not is_locked(directory):
        return {"status": "interrupted"}
    return result


def to_json(value: Any) -> Any:
    """Plain containers as JSON can hold them: with null for NaN and infinities, which it does not have.

    >>> to_json({"val/acc": 0.5, "val/loss": float("nan")})
    {'val/acc': 0.5, 'val/loss': None}
    """
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load_environment(directory: Path) -> dict[str, Any]:
    """What a run's ``environment.json`` holds; empty where there is none that can be read."""
    return _mapping(directory / "environment.json")


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # also of letters that are none
        return {}
    return found if isinstance(found, dict) else {}


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def diff_configs(old: Config, new: Config) -> list[str]:
    """What differs between two configurations, one line a key.

    >>> diff_configs({"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.3}, "seed": 0})
    ['optimizer.lr: 0.1 -> 0.3']
    """
    before, after = dict(flatten(comparable_config(old))), dict(flatten(comparable_config(new)))
    missing = "(none)"
    return [
        f"{key}: {before.get(key, missing)} -> {after.get(key, missing)}"
        for key in dict.fromkeys([*before, *after])
        if json.dumps(before.get(key, missing), default=str) != json.dumps(after.get(key, missing), default=str)
    ]


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys joined by dots, with their values.

    >>> dict(flatten({"optimizer": {"lr": 0.1}, "w": [2, -3.4]}))
    {'optimizer.lr': 0.1, 'w': [2, -3.4]}
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
