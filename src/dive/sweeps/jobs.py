"""A job of a sweep, and what its directory says of it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Config = dict[str, Any]

# How a run came about, not what it is: two runs that differ in these alone are the same.
CIRCUMSTANCES = ("resume", "sweep")

# Where runs go that make room for others, in the sweep's directory.
EARLIER = ".earlier"

# The same, written in C, ten times as fast: a sweep may have a thousand jobs.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Job:
    """One of a sweep's jobs.

    Attributes:
        number: its place in the sweep, from 0.
        words: what was typed for it.
        config: its resolved configuration.
        directory: of its run.
    """

    number: int
    words: tuple[str, ...]
    config: Config = field(repr=False)
    directory: Path

    @property
    def name(self) -> str:
        """That of its directory."""
        return self.directory.name

    @property
    def overrides(self) -> dict[str, str]:
        """What was typed for it, values by keys."""
        return by_key(self.words)


def by_key(words: Sequence[str]) -> dict[str, str]:
    """Overrides, values by keys.

    >>> by_key(["model=mlp", "+data.crop=[1,2]"])
    {'model': 'mlp', 'data.crop': '[1,2]'}
    """
    return {key.lstrip("+~"): value for key, _, value in (word.partition("=") for word in words)}


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
    """What a run's ``result.json`` holds; a run without one has the status ``running``, or was cut off."""
    try:
        result = json.loads((directory / "result.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {"status": "running" if (directory / "config.yaml").exists() else "missing"}
    return result if isinstance(result, dict) else {"status": "missing"}


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


def place_aside(directory: Path) -> Path:
    """Where a job's directory would go, to make room for another."""
    earlier = directory.parent / EARLIER
    taken = [path.name.rpartition(".") for path in earlier.glob("*")]
    numbers = [int(number) for name, _, number in taken if name == directory.name and number.isdigit()]
    return earlier / f"{directory.name}.{max(numbers, default=0) + 1}"


def set_aside(directory: Path) -> None:
    """Make room for another run in a job's directory."""
    aside = place_aside(directory)
    aside.parent.mkdir(exist_ok=True)
    directory.rename(aside)
