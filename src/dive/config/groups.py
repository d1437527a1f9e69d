"""Config groups: the folders of ``conf`` and the options of each."""

import re
from collections.abc import Sequence
from pathlib import Path

from dive.errors import ConfigError

CONFIG_DIR = Path(__file__).parents[3] / "conf"

# Hydra parses these as values, not as names.
LITERAL_VALUE = re.compile(r"null|true|false|[+-]?[\d.]+(e[+-]?\d+)?", re.IGNORECASE)


def config_choices(group: str) -> list[str]:
    """List the options of a config group; empty if there is no such group.

    >>> config_choices("sweeper")
    ['optuna']
    """
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml")) if group else []


def validate_group_choices(overrides: Sequence[str]) -> None:
    """Raise a ConfigError for a config group that is set to a number, boolean or null.

    Hydra's own message would not name the group.

    >>> validate_group_choices(["model=mlp", "seed=3"])
    """
    for override in overrides:
        group, _, values = override.lstrip("+").partition("=")
        invalid = next(filter(LITERAL_VALUE.fullmatch, values.split(",")), None)  # a sweep lists several values
        if invalid is not None and (names := config_choices(group)):
            raise ConfigError(f"{group}={invalid}: must be the name of a config; choose from {', '.join(names)}")
