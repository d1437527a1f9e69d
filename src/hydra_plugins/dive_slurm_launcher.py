"""Jobs of a sweep on SLURM. Hydra imports this module at every start: nothing heavy at its top."""

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

RESULT_GRACE_S = 10.0  # for the result of a job that has left the queue to come through a shared file system
CANCEL_TIMEOUT_S = 45.0  # for cancelled jobs to go: more than SLURM's usual KillWait


class SlurmLauncher(Launcher):
    """Submits jobs as one array, and waits until none of them is in SLURM's queue.

    hydra-submitit-launcher's own gives up all jobs with the first that is killed, and waits for ever for it where
    SLURM keeps no accounts. Its settings are ours.

    Args:
        submitit_folder: of each job's output; ``%j`` is its id.
        signal_delay_s: between SIGUSR1, at which a job is requeued, and the timeout.
        max_requeues: of one job.
        **settings: others of hydra-submitit-launcher; None leaves one to SLURM.
    """

    def __init__(self, submitit_folder: str, signal_delay_s: int, max_requeues: int, **settings: Any) -> None:
        self.folder = submitit_folder
        self.max_requeues = max_requeues
        plain: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)  # type: ignore[assignment]  # a dict goes in
        # submitit would have its own signal, and act on it.
        plain["additional_parameters"] = {"signal": f"USR1@{signal_delay_s}"} | plain["additional_parameters"]
        if cpus := plain.get("cpus_per_task"):
            plain["srun_args"] = [f"--cpus-per-task={cpus}"]  # which srun has not taken over since SLURM 22.05
        self.settings = {key: value for key, value in plain.items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives, and see that jobs can be submitted.

        Raises:
            ConfigError: submitit or SLURM is not there, or a setting is unknown.
            RunError: jobs of this sweep are in the queue still, from a command that was killed.
        """
        from dive.sweeps.launchers import slurm

        if find_spec("submitit") is None:
            raise ConfigError("launcher=slurm: hydra-submitit-launcher is missing: pip install -e '.[sweeps]'")
        if shutil.which("sbatch") is None:
            raise ConfigError("launcher=slurm: no sbatch here: type it on a cluster, or choose launcher=parallel")
        import submitit

        self.hydra_context = hydra_context
        self.compose = hydra_context.config_loader.load_sweep_config  # before DiveLauncher makes it remember all
        self.task_function = task_function
        self.config = config
        self.executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        try:
            self.executor.update_parameters(**{f"slurm_{key}": value for key, value in self.settings.items()})
        except (NameError, TypeError, ValueError) as error:
            raise ConfigError(f"hydra.launcher.delegate: {str(error).splitlines()[0]}") from error
        submitted = {path.name for path in Path(self.folder).parent.glob("*")}
        if left := sorted({job.partition("_")[0] for job in slurm.squeue() or {} if job in submitted}):
            raise RunError(
                f"{config.hydra.sweep.dir}: jobs of this sweep are still in SLURM's queue; wait for them, "
                f"or type: scancel {' '.join(left)}"
            )

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs; those that SLURM lost have the status FAILED, and why.

        Raises:
            RunError: sbatch refused them.
        """
        import submitit

        jobs, hydra = [], Singleton.get_state()
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.compose(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.num = number
                config.hydra.job.id = config.hydra.sweep.subdir
            jobs.append(_Job(self.hydra_context, self.task_function, config, self.max_requeues, hydra))
        try:
            submitted = self.executor.map_array(_Job.__call__, jobs)
        except submitit.core.utils.FailedJobError as error:
            raise RunError(f"launcher=slurm: {str(error).strip().splitlines()[-1]}") from error
        lost = _failed_jobs(submitted)
        return [
            JobReturn(
                overrides=list(overrides),
                status=JobStatus.FAILED if i in lost else JobStatus.COMPLETED,
                _return_value=RunError(lost[i]) if i in lost else None,
            )
            for i, overrides in enumerate(job_overrides)
        ]


@dataclass(frozen=True)
class _Job:
    context: HydraContext
    function: TaskFunction
    config: DictConfig
    max_requeues: int
    hydra: Any  # its state in the process that submits

    def __call__(self) -> None:
        from dive.sweeps.launchers.preemption import finished_earlier, requeue_on_preemption, resumes_checkpoint

        with requeue_on_preemption(self.max_requeues):
            Singleton.set_state(self.hydra)
            sweep = self.config.hydra.sweep
            directory = Path(sweep.dir, sweep.subdir).absolute()
            if finished_earlier(directory):
                return
            if resumes_checkpoint(directory):
                self.config.resume = str(directory)
            run_job_in_process(self.context, self.function, self.config)


def _failed_jobs(jobs: Sequence[Any]) -> dict[int, str]:
    """Wait for jobs; those that left nothing, by their indices, and why."""
    from dive.sweeps.launchers import slurm

    ids = [job.job_id for job in jobs]
    try:
        fates = {job: slurm.job_state(job) for job in slurm.wait_until_left_queue(ids)}
    except (KeyboardInterrupt, SystemExit):
        slurm.cancel(ids[0].partition("_")[0])
        list(slurm.wait_until_left_queue(ids, time.monotonic() + CANCEL_TIMEOUT_S))
        raise
    deadline = time.monotonic() + RESULT_GRACE_S
    while (silent := [i for i, job in enumerate(jobs) if not job.paths.result_pickle.exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(1)
    return {i: f"killed: SLURM says {fates[ids[i]]}; what it printed: {jobs[i].paths.stderr}" for i in silent}
