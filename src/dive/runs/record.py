"""The recorded configuration, environment and result of a run, and how two configurations differ."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from dive.runs.lock import is_locked

Config = dict[str, Any]

# Keys that say how a run was started, not what it computes: two runs that differ only in these are the same.
NON_IDENTITY_KEYS = ("resume", "sweep", "tune", "find_lr", "find_batch_size")

# The C implementation is ten times as fast, which matters for sweeps of a thousand jobs.
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def comparable_config(config: Config) -> Config:
    """A configuration without its `NON_IDENTITY_KEYS`."""
    return {key: value for key, value in config.items() if key not in NON_IDENTITY_KEYS}


def fingerprint(config: Config) -> str:
    """A string that is equal for two configurations if and only if they define the same run."""
    return json.dumps(comparable_config(config), sort_keys=True, default=str)


def load_config(directory: Path) -> Config | None:
    """Load the ``config.yaml`` of a run; None if it is missing or corrupt."""
    try:
        config = yaml.load((directory / "config.yaml").read_text(), YAML_LOADER)
    except (FileNotFoundError, yaml.YAMLError):
        return None
    return config if isinstance(config, dict) else None


def load_result(directory: Path) -> dict[str, Any]:
    """Load the ``result.json`` of a run.

    Without a valid one, the status of a run that has started is ``running``, though it may have been killed.
    """
    result = _load_json(directory / "result.json")
    rows = result.get("metrics", {})
    valid_rows = isinstance(rows, dict) and all(isinstance(row, dict) for row in rows.values())
    if isinstance(result.get("status"), str) and valid_rows:
        return result
    return {"status": "running" if (directory / "config.yaml").exists() else "not started"}


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
    """Load the ``environment.json`` of a run; empty if it is missing or corrupt."""
    return _load_json(directory / "environment.json")


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):  # ValueError: invalid JSON or invalid UTF-8
        return {}
    return content if isinstance(content, dict) else {}


def diff_configs(old: Config, new: Config) -> list[str]:
    """Format the differences of two configurations, one line per key.

    >>> diff_configs({"optimizer": {"lr": 0.1}, "seed": 0}, {"optimizer": {"lr": 0.3}, "seed": 0})
    ['optimizer.lr: 0.1 -> 0.3']
    """
    before, after = dict(flatten(comparable_config(old))), dict(flatten(comparable_config(new)))
    pairs = {key: (before.get(key, "(none)"), after.get(key, "(none)")) for key in [*before, *after]}
    return [
        f"{key}: {a} -> {b}"
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
