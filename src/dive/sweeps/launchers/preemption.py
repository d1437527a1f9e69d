"""Preemption on SLURM: a job that is stopped gets requeued and resumes from its checkpoint."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dive.runs.record import load_result
from dive.sweeps.job import archive_run
from dive.sweeps.launchers import slurm

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
INTERRUPTED = 128 + signal.SIGTERM


@contextmanager
def requeue_on_preemption(max_requeues: int) -> Iterator[None]:
    """Interrupt the code inside this context at the first of `SIGNALS`, and ask SLURM to requeue the job.

    No other handler acts on these signals: submitit's are replaced, Lightning installs none if one exists, and
    `dive.training.trainer` disables its requeueing. A job that SLURM itself ends, because it was cancelled or is
    already requeued, is not requeued here.

    Args:
        max_requeues: limit per job; without one, a job that makes no progress would be requeued forever.
    """
    for number in SIGNALS:
        signal.signal(number, _exit_once)
    try:
        yield
    except SystemExit as exit_request:
        job = slurm.current_job_id()
        running = exit_request.code == INTERRUPTED and (slurm.squeue() or {}).get(job) == "RUNNING"
        if running and slurm.procid() == 0 and slurm.restart_count() < max_requeues:
            # Starts the job again about two minutes later (the cluster's ``cred_expire``).
            slurm.run("scontrol", "requeue", job)
        raise


def _exit_once(_: int, __: FrameType | None) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # further signals must not disturb the exit
    raise SystemExit(INTERRUPTED)


def finished_earlier(directory: Path) -> bool:
    """Whether an earlier attempt finished the run and the job was requeued nevertheless."""
    return slurm.restart_count() > 0 and load_result(directory)["status"] == "finished"


def resumes_checkpoint(directory: Path) -> bool:
    """Whether this attempt can resume the checkpoint of an earlier one; an earlier run without one is archived."""
    if slurm.restart_count() == 0:
        return False
    if (directory / "checkpoints" / "last.ckpt").is_file():
        return True
    if slurm.procid() == 0 and directory.exists():
        archive_run(directory)
    return False
