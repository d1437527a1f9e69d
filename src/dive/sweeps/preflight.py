"""Whether every job of a sweep can be run, told before the first is."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dive.errors import ConfigError
from dive.sweeps.processes import Task, run


def check(configs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Check jobs in another process, which imports what they need, when this one has not.

    Args:
        configs: name and resolved configuration of each job.

    Raises:
        ConfigError: some cannot be run; the message has a line for each mistake.
    """
    if not configs:
        return
    for _, checked in run([Task(partial(problems, configs))], workers=1, threads=1):
        if checked.error is not None or checked.value:
            raise ConfigError(checked.error or "\n".join(checked.value))


def problems(configs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What is wrong with the jobs, a line each; a line that many share is told once, with the first.

    Their objects are built, but for data, which are not loaded, and trainers.

    Args:
        configs: name and resolved configuration of each job.
    """
    import torch  # slow to import, as what follows: this is for a process that has done so

    from dive import build
    from dive.check import check as check_config
    from dive.tuning import asked

    found: dict[str, list[str]] = {}
    for name, config in configs:
        try:
            check_config(config)
            if "task" not in config:
                continue
            if (search := asked(dict(config))) is not None:
                raise ConfigError(f"{search}=true: a search is no job of a sweep; leave out -m")
            with torch.device("meta"):  # where weights have shapes and take up nothing
                build.task(dict(config), build.data(dict(config)))
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
