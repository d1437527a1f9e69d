"""Hydra's launcher for sweeps. Hydra imports this module at every start: nothing heavy at its top."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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
    """Runs what is not finished of a sweep, each job in a process of its own; or lets another launcher run it.

    A job that fails returns None as its score, and costs the others nothing: `dive.sweeps.session` reports it.

    Args:
        max_workers: jobs at a time; they share the cores, and take the GPUs by turns. None is one a GPU, or a core.
        delegate: another launcher, that is to run the jobs.
    """

    def __init__(self, max_workers: int | None, delegate: Launcher | None) -> None:
        self.max_workers = max_workers
        self.delegate = delegate

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        if self.delegate:
            self.delegate.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.compose = ComposeCache(hydra_context.config_loader.load_sweep_config)
        hydra_context.config_loader.load_sweep_config = self.compose  # type: ignore[method-assign]  # on this object alone

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs, those that are finished already excepted.

        Raises:
            ConfigError: one of them cannot be run; none has been started.
        """
        from dive.config.naming import job_defining_overrides
        from dive.sweeps.active_session import get_session
        from dive.sweeps.launchers.resources import allocate

        setup_globals()
        configs = [self.compose(self.config, list(overrides)) for overrides in job_overrides]
        self.compose.clear()
        plain = [_resolved_container(config) for config in configs]
        machine = allocate(self.max_workers, [config["trainer"].get("accelerator") for config in plain])
        where = f"by {type(self.delegate).__name__}" if self.delegate else str(machine)
        opened = get_session(Path(self.config.hydra.sweep.dir).absolute(), plain[0]["monitor"], plain[0]["mode"])
        jobs = [
            (initial_job_idx + i, job_defining_overrides(overrides), config)
            for i, (overrides, config) in enumerate(zip(job_overrides, plain, strict=True))
        ]
        steps = opened.plan_jobs(jobs, self._varied(), where)
        # Two jobs that are typed differently and come to the same are one.
        todo = [i for i, step in enumerate(steps) if step.action != "skip" and steps.index(step) == i]
        with _exit_on_sigterm():
            if self.delegate and todo:
                self._delegate(opened, [(steps[i], job_overrides[i]) for i in todo])
            elif todo:
                placed = [_with_run_dir(configs[i], steps[i]) for i in todo]
                calls = [
                    partial(run_job_in_process, self.hydra_context, self.task_function, config)
                    for config in placed
                ]
                opened.run([steps[i] for i in todo], calls, machine)
        return [_job_return(step, overrides) for step, overrides in zip(steps, job_overrides, strict=True)]

    def _varied(self) -> list[str]:
        typed = OverridesParser.create().parse_overrides(list(self.config.hydra.overrides.task))
        searched = self.config.hydra.sweeper.get("params") or {}
        return [*(o.key_or_group for o in typed if o.is_sweep_override()), *map(str, searched)]

    def _delegate(self, opened: "SweepSession", todo: Sequence[tuple["PlannedJob", Sequence[str]]]) -> None:
        from dive.sweeps.launchers.monitor import monitor

        assert self.delegate is not None
        inner = self.delegate
        steps, given = zip(*todo, strict=True)
        overrides = [[*words, *_run_dir_overrides(step)] for step, words in zip(steps, given, strict=True)]

        def launch(which: Sequence[int]) -> dict[int, str]:
            returned = inner.launch([overrides[i] for i in which], steps[0].job.number)
            return {
                i: _failure_reason(job)
                for i, job in zip(which, returned, strict=True)
                if job.status is JobStatus.FAILED
            }

        monitor(opened, steps, launch)


class ComposeCache:
    """Composes each job once, though the sweeper asks for it too: it takes a tenth of a second.

    Args:
        compose: `hydra.core.config_loader.ConfigLoader.load_sweep_config`.
    """

    def __init__(self, compose: Callable[[DictConfig, list[str]], DictConfig]) -> None:
        self._compose = compose
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The configuration of a job."""
        key = tuple(sweep_overrides)
        if key not in self._composed:
            self._composed[key] = self._compose(master_config, sweep_overrides)
        return self._composed[key]

    def clear(self) -> None:
        """Compose anew from now on."""
        self._composed.clear()


def run_job_in_process(context: HydraContext, function: TaskFunction, config: DictConfig) -> None:
    """Run a job in this process, in which Hydra has not been started."""
    setup_globals()
    result = run_job(
        function,
        config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
    if result.status is not JobStatus.COMPLETED:
        raise result._return_value


def _resolved_container(config: DictConfig) -> dict[str, Any]:
    settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain: dict[str, Any] = OmegaConf.to_container(settings, resolve=True)  # type: ignore[assignment]  # a dict, since a DictConfig goes in
    return plain


def _with_run_dir(config: DictConfig, step: "PlannedJob") -> DictConfig:
    with open_dict(config):
        config.hydra.job.num = step.job.number
        config.hydra.job.id = step.job.name
        config.hydra.sweep.subdir = step.job.name
        config.resume = str(step.job.directory) if step.action == "resume" else None
    return config


def _run_dir_overrides(step: "PlannedJob") -> list[str]:
    quoted = str(step.job.directory).replace("'", "\\'")
    resumed = f"'{quoted}'" if step.action == "resume" else "null"
    return [f"hydra.sweep.subdir='{step.job.name}'", f"resume={resumed}"]


def _failure_reason(failed: JobReturn) -> str:
    error = failed._return_value
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _job_return(step: "PlannedJob", overrides: Sequence[str]) -> JobReturn:
    from dive.runs.record import load_result

    done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, task_name="train")
    # Not a failure to Hydra: its sweepers would stop there, and leave the others undone.
    done.return_value = load_result(step.job.directory).get("score")
    return done


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
