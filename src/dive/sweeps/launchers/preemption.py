"""Attempts at a job on a cluster, which may stop it at any time and start it again."""

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
    """Let `SIGNALS` end what runs within as an interruption, and have SLURM start it again.

    Ours are the only handlers that act: those of submitit are replaced, Lightning keeps away from signals that
    have one, and `dive.training.trainer` switches its requeueing off. Where SLURM ends the job, since it was cancelled or
    is requeued already, that is left to SLURM.

    Args:
        max_requeues: of one job; more would hide that it gets nowhere.
    """
    leave = ExitOnSignal()
    for number in SIGNALS:
        signal.signal(number, leave)
    try:
        yield
    except SystemExit as left:
        job = slurm.current_job_id()
        running = left.code == INTERRUPTED and (slurm.squeue() or {}).get(job) == "RUNNING"
        if running and slurm.procid() == 0 and slurm.restart_count() < max_requeues:
            slurm.requeue(job)
        raise


class ExitOnSignal:
    """Leaves at the first signal; those that follow must not disturb the leaving."""

    def __init__(self) -> None:
        self.left = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.left:
            self.left = True
            raise SystemExit(INTERRUPTED)


def finished_earlier(directory: Path) -> bool:
    """Whether an earlier attempt came to the end, and was requeued all the same."""
    return slurm.restart_count() > 0 and load_result(directory)["status"] == "finished"


def resumes_checkpoint(directory: Path) -> bool:
    """Whether this is another attempt, that is to go on in the directory; where it cannot, there is room to start.

    Args:
        directory: of the job's run.
    """
    if slurm.restart_count() == 0:
        return False
    if (directory / "checkpoints" / "last.ckpt").is_file():
        return True
    if slurm.procid() == 0 and directory.exists():
        archive_run(directory)
    return False
