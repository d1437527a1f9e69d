"""What a run's directory says of it: its configuration, its result, and how two configurations differ."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dive.locks import is_running

Config = dict[str, Any]

# How a run came about, not what it is: two runs that differ in these alone are the same.
CIRCUMSTANCES = ("resume", "sweep", "tune", "find_lr", "find_batch_size")

# The same, written in C, ten times as fast: a sweep may have a thousand jobs.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def essence(config: Config) -> Config:
    """A configuration without the `CIRCUMSTANCES` of its run."""
    return {key: value for key, value in config.items() if key not in CIRCUMSTANCES}


def fingerprint(config: Config) -> str:
    """A text that is the same for the same runs, and for those only."""
    return json.dumps(essence(config), sort_keys=True, default=str)


def recorded_config(directory: Path) -> Config | None:
    """What a run's ``config.yaml`` holds; None where there is none that can be read."""
    try:
        config = yaml.load((directory / "config.yaml").read_text(), LOADER)
    except (FileNotFoundError, yaml.YAMLError):
        return None
    return config if isinstance(config, dict) else None


def recorded_result(directory: Path) -> dict[str, Any]:
    """What a run's ``result.json`` holds; a run without a sound one has the status ``running``, or was cut off."""
    result = _mapping(directory / "result.json")
    rows = result.get("metrics", {})
    if isinstance(result.get("status"), str) and isinstance(rows, dict) and all(map(_is_mapping, rows.values())):
        return result
    return {"status": "running" if (directory / "config.yaml").exists() else "missing"}


def result_by_now(directory: Path) -> dict[str, Any]:
    """The same, with the status ``interrupted`` where nobody is at the run any more, as after ``kill -9``."""
    result = recorded_result(directory)
    if result["status"] == "running" and not is_running(directory):
        return {"status": "interrupted"}
    return result


def in_json(value: Any) -> Any:
    """Plain containers as JSON can hold them: with null for NaN and infinities, which it does not have.

    >>> in_json({"val/acc": 0.5, "val/loss": float("nan")})
    {'val/acc': 0.5, 'val/loss': None}
    """
    if isinstance(value, Mapping):
        return {key: in_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [in_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def recorded_environment(directory: Path) -> dict[str, Any]:
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


def differences(old: Config, new: Config) -> list[str]:
    """What differs between two configurations, one line a key.

    >>> differences({"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.3}, "seed": 0})
    ['optimizer.lr: 0.1 -> 0.3']
    """
    before, after = dict(flat(essence(old))), dict(flat(essence(new)))
    missing = "(none)"
    return [
        f"{key}: {before.get(key, missing)} -> {after.get(key, missing)}"
        for key in dict.fromkeys([*before, *after])
        if json.dumps(before.get(key, missing), default=str) != json.dumps(after.get(key, missing), default=str)
    ]


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys joined by dots, with their values.

    >>> dict(flat({"optimizer": {"lr": 0.1}, "w": [2, -3.4]}))
    {'optimizer.lr': 0.1, 'w': [2, -3.4]}
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
