"""Validation of all jobs of a sweep before the first one starts."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from dive.errors import ConfigError
from dive.sweeps.launchers.process_pool import ProcessJob, run_jobs


def validate_jobs(configs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Validate jobs, given as (name, resolved configuration), in a subprocess that imports torch.

    Raises:
        ConfigError: some jobs are invalid; the message has one line per mistake.
    """
    if not configs:
        return
    for _, result in run_jobs([ProcessJob(partial(find_problems, configs))], workers=1, threads=1):
        if result.error is not None or result.value:
            raise ConfigError(result.error or "\n".join(result.value))


def find_problems(configs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Validate jobs and return one line per mistake; a mistake that several jobs share is listed once.

    Tasks and data modules are instantiated, but no data is loaded and no trainer is built.
    """
    import torch  # slow to import, like the modules below; this function runs in a subprocess

    from dive.config.tuner_request import requested_tuner
    from dive.config.validation import validate_run_config
    from dive.training import instantiate

    jobs_by_problem: dict[str, list[str]] = {}
    for name, config in configs:
        try:
            validate_run_config(config)
            if (tuner := requested_tuner(dict(config))) is not None:
                raise ConfigError(f"{tuner}=true: cannot be used in a sweep; remove -m")
            with torch.device("meta"):  # parameters have shapes but take no memory
                instantiate.instantiate_task(dict(config), instantiate.instantiate_datamodule(dict(config)))
        except ConfigError as error:
            for line in str(error).splitlines():
                jobs_by_problem.setdefault(line, []).append(name)
    return [f"{line} (in {group_names(names)})" for line, names in jobs_by_problem.items()]


def group_names(names: Sequence[str]) -> str:
    """The name of the first job and the number of further ones.

    >>> group_names(["seed=0", "seed=1", "seed=2"]), group_names(["seed=0"])
    ('seed=0 and 2 more', 'seed=0')
    """
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
