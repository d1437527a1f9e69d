"""The groups of configurations: the folders of ``conf``, and the names to choose from in each."""

import re
from collections.abc import Sequence
from pathlib import Path

from dive.errors import ConfigError

CONFIG_DIR = Path(__file__).parents[3] / "conf"

# What Hydra takes for a value, and not for a name.
LITERAL_VALUE = re.compile(r"null|true|false|[+-]?[\d.]+(e[+-]?\d+)?", re.IGNORECASE)


def config_choices(group: str) -> list[str]:
    """The names of a group; none where there is no such group.

    >>> config_choices("scheduler")
    ['cosine', 'none', 'step']
    """
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml")) if group else []


def validate_group_choices(overrides: Sequence[str]) -> None:
    """Raise a ConfigError where a group is given what is no name: Hydra's own line would not say which group.

    >>> validate_group_choices(["model=mlp", "seed=3"])
    """
    for word in overrides:
        group, _, said = word.lstrip("+").partition("=")
        wrong = next(filter(LITERAL_VALUE.fullmatch, said.split(",")), None)  # a sweep's are several
        if wrong is not None and (names := config_choices(group)):
            raise ConfigError(f"{group}={wrong}: must be a name; choose from {', '.join(names)}")
