"""SLURM commands: list the queue, read the state of a job, or run any other.

None of them needs SLURM's accounting (``sacct``), which small clusters often lack.
"""

import logging
import math
import os
import subprocess
import time
from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 3.0  # one squeue call for all jobs, to limit the load on the cluster


def squeue() -> dict[str, str] | None:
    """States of this user's queued and running jobs, by job id; None if SLURM does not respond."""
    output = run("squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i %T")
    return None if output is None else dict(line.split(maxsplit=1) for line in output.splitlines())


def wait_until_left_queue(jobs: Sequence[str], until: float = math.inf) -> Iterator[str]:
    """Yield each job id when the job is no longer in the queue; a requeued job is still in it.

    `until` is a `time.monotonic` value at which to stop waiting.
    """
    waiting = list(jobs)
    while waiting and time.monotonic() < until:
        if (queued := squeue()) is not None:
            yield from (job for job in waiting if job not in queued)
            waiting = [job for job in waiting if job in queued]
        if waiting:
            time.sleep(POLL_INTERVAL_S)


def job_state(job: str) -> str:
    """State of a job that has ended, such as ``OUT_OF_MEMORY, exit code 0:9``; SLURM soon forgets it."""
    output = run("scontrol", "show", "job", "--oneliner", job, warn=False) or ""
    fields = {key: value for key, _, value in (word.partition("=") for word in output.split())}
    return f"{fields['JobState']}, exit code {fields['ExitCode']}" if "JobState" in fields else "unknown"


def current_job_id() -> str:
    """Id of the job that this process belongs to, as listed by `squeue`."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ["SLURM_JOB_ID"]


def restart_count() -> int:
    """How often the job of this process has been requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def procid() -> int:
    """Rank of this process in its job."""
    return int(os.environ.get("SLURM_PROCID", 0))


def run(*command: str, warn: bool = True) -> str | None:
    """Run a command and return its output; log a warning and return None if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and warn:
        log.warning("%s: %s", " ".join(command), done.stderr.strip())
    return None if done.returncode else done.stdout
