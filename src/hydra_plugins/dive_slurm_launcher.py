"""A Hydra launcher for SLURM. Hydra imports this module at every start, so heavy imports happen in functions."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from dive.errors import ConfigError, RunError
from hydra_plugins.dive_launcher import run_job_in_process

RESULT_GRACE_S = 10.0  # for the result file of an ended job to appear on a shared file system
CANCEL_TIMEOUT_S = 45.0  # for cancelled jobs to leave the queue; longer than SLURM's default KillWait


class SlurmLauncher(Launcher):
    """Submits jobs as one array, and waits until all of them have left SLURM's queue.

    The launcher of hydra-submitit-launcher gives up on all jobs if one is killed, and waits for that job forever
    if SLURM has no accounting. This launcher takes the same settings.

    Args:
        submitit_folder: output directory of each job; ``%j`` is replaced by the job id.
        signal_delay_s: SIGUSR1, which requeues a job, is sent this many seconds before the time limit.
        max_requeues: maximum number of automatic requeues per job.
        **settings: further settings of hydra-submitit-launcher; None uses SLURM's default.
    """

    def __init__(self, submitit_folder: str, signal_delay_s: int, max_requeues: int, **settings: Any) -> None:
        self.folder = submitit_folder
        self.max_requeues = max_requeues
        resolved: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)  # type: ignore[assignment]  # a dict
        # Set here, because submitit would otherwise set and handle another signal.
        signal = {"signal": f"USR1@{signal_delay_s}"}
        resolved["additional_parameters"] = signal | resolved["additional_parameters"]
        if cpus := resolved.get("cpus_per_task"):
            resolved["srun_args"] = [f"--cpus-per-task={cpus}"]  # srun does not inherit it since SLURM 22.05
        self.settings = {key: value for key, value in resolved.items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the arguments of Hydra, and check that jobs can be submitted.

        Raises:
            ConfigError: submitit or SLURM is not installed, or a setting is unknown.
            RunError: jobs of this sweep are still in the queue, from a command that was killed.
        """
        from dive.sweeps.launchers import slurm

        if find_spec("submitit") is None:
            raise ConfigError("launcher=slurm: hydra-submitit-launcher is missing: pip install -e '.[sweeps]'")
        if shutil.which("sbatch") is None:
            raise ConfigError("launcher=slurm: sbatch not found: run on a SLURM cluster, or use launcher=parallel")
        import submitit

        self.hydra_context = hydra_context
        # Without the cache that DiveLauncher adds later.
        self.compose = hydra_context.config_loader.load_sweep_config
        self.task_function = task_function
        self.config = config
        self.executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        try:
            self.executor.update_parameters(**{f"slurm_{key}": value for key, value in self.settings.items()})
        except (NameError, TypeError, ValueError) as error:
            raise ConfigError(f"hydra.launcher.delegate: {str(error).splitlines()[0]}") from error
        submitted = {path.name for path in Path(self.folder).parent.glob("*")}
        if queued := sorted({job.partition("_")[0] for job in slurm.squeue() or {} if job in submitted}):
            raise RunError(
                f"{config.hydra.sweep.dir}: jobs of this sweep are still in SLURM's queue; wait for them, "
                f"or cancel them: scancel {' '.join(queued)}"
            )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs; a job that wrote no result has the status FAILED and a RunError that says why.

        Raises:
            RunError: sbatch rejected the jobs.
        """
        import submitit

        jobs, hydra_state = [], Singleton.get_state()
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.compose(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.num = number
                config.hydra.job.id = config.hydra.sweep.subdir
            jobs.append(_Job(self.hydra_context, self.task_function, config, self.max_requeues, hydra_state))
        try:
            submitted = self.executor.map_array(_Job.__call__, jobs)
        except submitit.core.utils.FailedJobError as error:
            raise RunError(f"launcher=slurm: {str(error).strip().splitlines()[-1]}") from error
        failed = _failed_jobs(submitted)
        returned = [JobReturn(list(overrides), status=JobStatus.COMPLETED) for overrides in job_overrides]
        for i, reason in failed.items():
            returned[i].status, returned[i].return_value = JobStatus.FAILED, RunError(reason)
        return returned


@dataclass(frozen=True)
class _Job:
    context: HydraContext
    function: TaskFunction
    config: DictConfig
    max_requeues: int
    hydra_state: Any  # Hydra's singletons in the submitting process

    def __call__(self) -> None:
        from dive.sweeps.launchers.preemption import finished_earlier, requeue_on_preemption, resumes_checkpoint

        with requeue_on_preemption(self.max_requeues):
            Singleton.set_state(self.hydra_state)
            sweep = self.config.hydra.sweep
            directory = Path(sweep.dir, sweep.subdir).absolute()
            if finished_earlier(directory):
                return
            if resumes_checkpoint(directory):
                self.config.resume = str(directory)
            run_job_in_process(self.context, self.function, self.config)


def _failed_jobs(jobs: Sequence[Any]) -> dict[int, str]:
    """Wait for jobs; return, by index, the reasons why jobs wrote no result."""
    from dive.sweeps.launchers import slurm

    ids = [job.job_id for job in jobs]
    try:
        states = {job: slurm.job_state(job) for job in slurm.wait_until_left_queue(ids)}
    except (KeyboardInterrupt, SystemExit):
        # Cancels the whole array: SIGTERM, then SIGKILL after the cluster's KillWait.
        slurm.run("scancel", ids[0].partition("_")[0])
        list(slurm.wait_until_left_queue(ids, time.monotonic() + CANCEL_TIMEOUT_S))
        raise
    deadline = time.monotonic() + RESULT_GRACE_S
    while (failed := [i for i, job in enumerate(jobs) if not job.paths.result_pickle.exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(1)
    return {i: f"killed: SLURM state {states[ids[i]]}; output: {jobs[i].paths.stderr}" for i in failed}
