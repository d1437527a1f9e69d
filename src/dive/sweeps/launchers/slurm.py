"""SLURM's commands: what is in its queue, what became of a job, away with it, once more.

None of them needs SLURM's accounting (``sacct``), which small clusters do without.
"""

import logging
import math
import os
import subprocess
import time
from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 3.0  # between two looks at the queue: one for all jobs, so as not to burden the cluster


def squeue() -> dict[str, str] | None:
    """States of this user's jobs that have not ended, by their ids; None where SLURM does not answer just now."""
    asked = _run("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T")
    if asked.returncode:
        log.warning("squeue: %s", asked.stderr.strip())
        return None
    return dict(line.split(maxsplit=1) for line in asked.stdout.splitlines())


def wait_until_left_queue(jobs: Sequence[str], until: float = math.inf) -> Iterator[str]:
    """Those of some jobs that are not in the queue, and then each as it leaves; a requeued job is still there.

    Args:
        jobs: their ids.
        until: when to stop waiting, by `time.monotonic`.
    """
    waiting = list(jobs)
    while waiting and time.monotonic() < until:
        if (queued := squeue()) is not None:
            yield from (job for job in waiting if job not in queued)
            waiting = [job for job in waiting if job in queued]
        if waiting:
            time.sleep(POLL_INTERVAL_S)


def job_state(job: str) -> str:
    """What SLURM says of a job that has ended, such as ``OUT_OF_MEMORY, exit status 0:9``; it soon forgets."""
    words = _run("scontrol", "show", "job", "--oneliner", job).stdout.split()
    told = {key: value for key, _, value in (word.partition("=") for word in words)}
    return f"{told['JobState']}, exit status {told['ExitCode']}" if "JobState" in told else "nothing any more"


def cancel(job: str) -> None:
    """End a job, or all of an array: SIGTERM, and after the cluster's KillWait SIGKILL."""
    done = _run("scancel", job)
    if done.returncode:
        log.warning("scancel %s: %s", job, done.stderr.strip())


def requeue(job: str) -> None:
    """Have a running job stopped and started again, some two minutes later (the cluster's ``cred_expire``)."""
    done = _run("scontrol", "requeue", job)
    if done.returncode:
        log.warning("scontrol requeue %s: %s", job, done.stderr.strip())


def current_job_id() -> str:
    """Id of the job in which this process runs, as `squeue` has it."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def restart_count() -> int:
    """How often the job in which this process runs has been requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def procid() -> int:
    """Number of this process in its job."""
    return int(os.environ.get("SLURM_PROCID", 0))


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True)
