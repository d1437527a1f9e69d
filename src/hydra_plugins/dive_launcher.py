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
    from dive.sweeps.session import Session
    from dive.sweeps.sweep import Step


class DiveLauncher(Launcher):
    """Runs what is not finished of a sweep, each job in a process of its own; or lets another launcher run it.

    A job that fails returns None as its score, and costs the others nothing: `dive.sweeps.session` reports it.

    Args:
        workers: jobs at a time; they share the cores, and take the GPUs by turns. None is one a GPU, or a core.
        over: another launcher, that is to run the jobs.
    """

    def __init__(self, workers: int | None, over: Launcher | None) -> None:
        self.workers = workers
        self.over = over

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        if self.over:
            self.over.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.compose = Remembered(hydra_context.config_loader.load_sweep_config)
        hydra_context.config_loader.load_sweep_config = self.compose  # type: ignore[method-assign]  # on this object alone

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs, those that are finished already excepted.

        Raises:
            ConfigError: one of them cannot be run; none has been started.
        """
        from dive.sweeps.current import session
        from dive.sweeps.hardware import share
        from dive.sweeps.names import own

        setup_globals()
        configs = [self.compose(self.config, list(overrides)) for overrides in job_overrides]
        self.compose.forget()
        plain = [_plain(config) for config in configs]
        machine = share(self.workers, [config["trainer"].get("accelerator") for config in plain])
        where = f"by {type(self.over).__name__}" if self.over else str(machine)
        opened = session(Path(self.config.hydra.sweep.dir).absolute(), plain[0]["optimize"])
        jobs = [
            (initial_job_idx + i, own(overrides), config)
            for i, (overrides, config) in enumerate(zip(job_overrides, plain, strict=True))
        ]
        steps = opened.prepare(jobs, self._varied(), where)
        # Two jobs that are typed differently and come to the same are one.
        todo = [i for i, step in enumerate(steps) if step.action != "keep" and steps.index(step) == i]
        with _sigterm_raises():
            if self.over and todo:
                self._hand_over(opened, [(steps[i], job_overrides[i]) for i in todo])
            elif todo:
                placed = [_placed(configs[i], steps[i]) for i in todo]
                calls = [partial(run_here, self.hydra_context, self.task_function, config) for config in placed]
                opened.run([steps[i] for i in todo], calls, machine)
        return [_job_return(step, overrides) for step, overrides in zip(steps, job_overrides, strict=True)]

    def _varied(self) -> list[str]:
        typed = OverridesParser.create().parse_overrides(list(self.config.hydra.overrides.task))
        searched = self.config.hydra.sweeper.get("params") or {}
        return [*(o.key_or_group for o in typed if o.is_sweep_override()), *map(str, searched)]

    def _hand_over(self, opened: "Session", todo: Sequence[tuple["Step", Sequence[str]]]) -> None:
        from dive.sweeps.watching import watch

        assert self.over is not None
        inner = self.over
        steps, given = zip(*todo, strict=True)
        overrides = [[*words, *_placement(step)] for step, words in zip(steps, given, strict=True)]

        def launch(which: Sequence[int]) -> dict[int, str]:
            returned = inner.launch([overrides[i] for i in which], steps[0].job.number)
            return {i: _why(job) for i, job in zip(which, returned, strict=True) if job.status is JobStatus.FAILED}

        watch(opened, steps, launch)


class Remembered:
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

    def forget(self) -> None:
        """Compose anew from now on."""
        self._composed.clear()


def run_here(context: HydraContext, function: TaskFunction, config: DictConfig) -> None:
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


def _plain(config: DictConfig) -> dict[str, Any]:
    settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain: dict[str, Any] = OmegaConf.to_container(settings, resolve=True)  # type: ignore[assignment]  # a dict, since a DictConfig goes in
    return plain


def _placed(config: DictConfig, step: "Step") -> DictConfig:
    with open_dict(config):
        config.hydra.job.num = step.job.number
        config.hydra.job.id = step.job.name
        config.hydra.sweep.subdir = step.job.name
        config.resume = str(step.job.directory) if step.action == "resume" else None
    return config


def _placement(step: "Step") -> list[str]:
    quoted = str(step.job.directory).replace("'", "\\'")
    resumed = f"'{quoted}'" if step.action == "resume" else "null"
    return [f"hydra.sweep.subdir='{step.job.name}'", f"resume={resumed}"]


def _why(failed: JobReturn) -> str:
    error = failed._return_value
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _job_return(step: "Step", overrides: Sequence[str]) -> JobReturn:
    from dive.recorded import recorded_result

    done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED, task_name="train")
    # Not a failure to Hydra: its sweepers would stop there, and leave the others undone.
    done.return_value = recorded_result(step.job.directory).get("score")
    return done


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
