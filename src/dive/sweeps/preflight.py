"""Whether every job of a sweep can be run, told before the first is."""

from collections.abc import Mapping, Sequence
from typing import Any

from dive.errors import ConfigError


def problems(configs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What is wrong with the jobs, a line each; a line that many share is told once, with the first.

    Args:
        configs: name and resolved configuration of each job.
    """
    from dive.check import check  # slow to import: this is for a process that has done so

    found: dict[str, list[str]] = {}
    for name, config in configs:
        try:
            check(config)
        except ConfigError as error:
            for line in str(error).splitlines():
                found.setdefault(line, []).append(name)
    return [f"{line} (in {first_of(names)})" for line, names in found.items()]


def first_of(names: Sequence[str]) -> str:
    """The first of some jobs, and how many more.

    >>> first_of(["seed=0", "seed=1", "seed=2"]), first_of(["seed=0"])
    ('seed=0 and 2 more', 'seed=0')
    """
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
