"""The Hydra launcher of sweeps. Hydra imports this module at every start, so heavy imports happen in functions."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from dive.errors import UserError

if TYPE_CHECKING:
    from dive.sweeps.session import SweepSession
    from dive.sweeps.sweep import PlannedJob


class DiveLauncher(Launcher):
    """Runs the unfinished jobs of a sweep, each in its own process, or delegates them to another launcher.

    A failed job returns None as its score and does not affect the others; `dive.sweeps.session` reports it.

    Args:
        max_workers: number of jobs at a time, which share cores and GPUs; None means one per GPU or core.
        delegate: another launcher that runs the jobs.
    """

    def __init__(self, max_workers: int | None, delegate: Launcher | None) -> None:
        self.max_workers = max_workers
        self.delegate = delegate

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the arguments of Hydra, and set up the delegate."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        if self.delegate:
            self.delegate.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.compose = ComposeCache(hydra_context.config_loader.load_sweep_config)
        hydra_context.config_loader.load_sweep_config = self.compose  # type: ignore[method-assign]  # this object only

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs, except those that are already finished.

        Raises:
            ConfigError: a job is invalid; none has been started.
        """
        from dive.config.naming import job_defining_overrides
        from dive.sweeps.active_session import get_session
        from dive.sweeps.launchers.resources import allocate

        setup_globals()
        configs = [self.compose(self.config, list(overrides)) for overrides in job_overrides]
        self.compose.clear()
        resolved = [_resolved_container(config) for config in configs]
        share = allocate(self.max_workers, [config["trainer"].get("accelerator") for config in resolved])
        where = f"by {type(self.delegate).__name__}" if self.delegate else str(share)
        sweep_dir = Path(self.config.hydra.sweep.dir).absolute()
        session = get_session(sweep_dir, resolved[0]["monitor"], resolved[0]["mode"])
        jobs = [
            (initial_job_idx + i, job_defining_overrides(overrides), resolved[i])
            for i, overrides in enumerate(job_overrides)
        ]
        planned = session.plan_jobs(jobs, self._varied_keys(), where)
        # Overrides that are typed differently but compose to the same configuration are one job.
        to_run = [i for i, plan in enumerate(planned) if plan.action != "skip" and planned.index(plan) == i]
        with _exit_on_sigterm():
            if self.delegate and to_run:
                self._delegate(session, [(planned[i], job_overrides[i]) for i in to_run])
            elif to_run:
                run = partial(run_job_in_process, self.hydra_context, self.task_function)
                calls = [partial(run, _with_run_dir(configs[i], planned[i])) for i in to_run]
                session.run([planned[i] for i in to_run], calls, share)
        return [_job_return(plan, overrides) for plan, overrides in zip(planned, job_overrides, strict=True)]

    def _varied_keys(self) -> list[str]:
        overrides = OverridesParser.create().parse_overrides(list(self.config.hydra.overrides.task))
        searched = self.config.hydra.sweeper.get("params") or {}
        return [*(o.key_or_group for o in overrides if o.is_sweep_override()), *map(str, searched)]

    def _delegate(self, session: "SweepSession", jobs: Sequence[tuple["PlannedJob", Sequence[str]]]) -> None:
        from dive.sweeps.launchers.monitor import monitor

        planned = [plan for plan, _ in jobs]
        overrides = [[*words, *_run_dir_overrides(plan)] for plan, words in jobs]

        def launch(indices: Sequence[int]) -> dict[int, str]:
            assert self.delegate is not None
            returned = self.delegate.launch([overrides[i] for i in indices], planned[0].number)
            pairs = zip(indices, returned, strict=True)
            return {i: _failure_reason(job) for i, job in pairs if job.status is JobStatus.FAILED}

        monitor(session, planned, launch)


class ComposeCache(dict[tuple[str, ...], DictConfig]):
    """Composes each job once, although the sweeper and the launcher both ask for it: composing takes 0.1 s."""

    def __init__(self, compose: Callable[[DictConfig, list[str]], DictConfig]) -> None:
        self._compose = compose

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose the configuration of a job."""
        key = tuple(sweep_overrides)
        if key not in self:
            self[key] = self._compose(master_config, sweep_overrides)
        return self[key]


def run_job_in_process(context: HydraContext, function: TaskFunction, config: DictConfig) -> None:
    """Run a job in this process, in which Hydra has not been initialized."""
    setup_globals()
    result = run_job(function, config, "hydra.sweep.dir", "hydra.sweep.subdir", hydra_context=context)
    if result.status is not JobStatus.COMPLETED:
        raise _job_error(result)


def _job_error(job: JobReturn) -> Exception:
    try:
        with redirect_stderr(StringIO()):  # Hydra prints the overrides of the job
            _ = job.return_value
    except Exception as error:
        return error
    raise AssertionError("the job has not failed")


def _resolved_container(config: DictConfig) -> dict[str, Any]:
    settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    return OmegaConf.to_container(settings, resolve=True)  # type: ignore[return-value]  # a dict, from a DictConfig


def _with_run_dir(config: DictConfig, plan: "PlannedJob") -> DictConfig:
    with open_dict(config):
        config.hydra.job.num = plan.number
        config.hydra.job.id = plan.name
        config.hydra.sweep.subdir = plan.name
        config.resume = str(plan.directory) if plan.action == "resume" else None
    return config


def _run_dir_overrides(plan: "PlannedJob") -> list[str]:
    quoted = str(plan.directory).replace("'", "\\'")
    resume = f"'{quoted}'" if plan.action == "resume" else "null"
    return [f"hydra.sweep.subdir='{plan.name}'", f"resume={resume}"]


def _failure_reason(job: JobReturn) -> str:
    error = _job_error(job)
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _job_return(plan: "PlannedJob", overrides: Sequence[str]) -> JobReturn:
    from dive.runs.record import load_result

    # COMPLETED even for a failed job: Hydra's sweepers would stop at a failure and not run the other jobs.
    job = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, task_name="train")
    job.return_value = load_result(plan.directory).get("score")
    return job


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    previous = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
