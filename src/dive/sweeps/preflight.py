"""Whether every job of a sweep can be run, told before the first is."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dive.errors import ConfigError
from dive.sweeps.launchers.process_pool import ProcessJob, run_jobs


def validate_jobs(configs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Check jobs in another process, which imports what they need, when this one has not.

    Args:
        configs: name and resolved configuration of each job.

    Raises:
        ConfigError: some cannot be run; the message has a line for each mistake.
    """
    if not configs:
        return
    for _, checked in run_jobs([ProcessJob(partial(find_problems, configs))], workers=1, threads=1):
        if checked.error is not None or checked.value:
            raise ConfigError(checked.error or "\n".join(checked.value))


def find_problems(configs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What is wrong with the jobs, a line each; a line that many share is told once, with the first.

    Their objects are built, but for data, which are not loaded, and trainers.

    Args:
        configs: name and resolved configuration of each job.
    """
    import torch  # slow to import, as what follows: this is for a process that has done so

    from dive.config.tuner_request import requested_tuner
    from dive.config.validation import validate_config as check_config
    from dive.training import instantiate

    found: dict[str, list[str]] = {}
    for name, config in configs:
        try:
            check_config(config)
            if "task" not in config:
                continue
            if (search := requested_tuner(dict(config))) is not None:
                raise ConfigError(f"{search}=true: a search is no job of a sweep; leave out -m")
            with torch.device("meta"):  # where weights have shapes and take up nothing
                instantiate.instantiate_task(dict(config), instantiate.instantiate_datamodule(dict(config)))
        except ConfigError as error:
            for line in str(error).splitlines():
                found.setdefault(line, []).append(name)
    return [f"{line} (in {group_names(names)})" for line, names in found.items()]


def group_names(names: Sequence[str]) -> str:
    """The first of some jobs, and how many more.

    >>> group_names(["seed=0", "seed=1", "seed=2"]), group_names(["seed=0"])
    ('seed=0 and 2 more', 'seed=0')
    """
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
