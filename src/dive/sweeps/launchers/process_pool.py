"""Run functions in separate processes, a few at a time; a process that dies affects only its own job."""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cloudpickle

from dive.errors import RunError
from dive.sweeps.launchers.job_process import run_in_this_process

# Imported once by the fork server, so that a process starts in hundredths of a second, not in ten seconds.
PRELOADED = [
    "dive.training.instantiate",
    "dive.training.result",
    "dive.runs.run",
    "dive.visualization.plots",
    "torch.utils.tensorboard",
]
GRACE_PERIOD_S = 10.0  # between SIGTERM and SIGKILL, to save and exit


@dataclass(frozen=True)
class ProcessJob:
    """A function to call in its own process.

    Args:
        call: takes no arguments; its return value or error is sent back.
        output: file to which stdout and stderr are appended; None leaves them as they are.
    """

    call: Callable[[], Any]
    output: Path | None = None


@dataclass(frozen=True)
class ProcessResult:
    """The outcome of a job.

    Attributes:
        value: return value.
        error: message of the error or of how the process was killed; None if the function returned.
    """

    value: Any = None
    error: str | None = None


@dataclass
class _Worker:
    index: int
    slot: int
    process: BaseProcess
    connection: Connection

    def result(self) -> ProcessResult:
        # Receive before joining: a process that sends a large value blocks until it is read.
        message = None
        with suppress(EOFError, OSError):
            message = self.connection.recv() if self.connection.poll() else None
        self.process.join()
        _kill_group(self.process)
        if message is not None:
            return ProcessResult(**message)
        code = self.process.exitcode or 0
        if code >= 0:
            return ProcessResult(error=f"exited with status {code}")
        hint = " (out of memory?)" if -code == signal.SIGKILL else ""
        return ProcessResult(error=f"killed by {signal.Signals(-code).name}{hint}")


def run_jobs(
    jobs: Sequence[ProcessJob],
    workers: int,
    threads: int,
    devices: Sequence[str] = (),
    on_start: Callable[[int], None] | None = None,
) -> Generator[tuple[int, ProcessResult]]:
    """Run jobs, and yield the index and the result of each as it ends.

    If the caller closes the generator or is interrupted, running jobs get SIGTERM, and SIGKILL after
    `GRACE_PERIOD_S`. If this process dies, they die with it.

    Args:
        jobs: what to run.
        workers: how many to run at a time, at least 1.
        threads: torch threads per process.
        devices: values of CUDA_VISIBLE_DEVICES, assigned round-robin; empty leaves the variable unchanged.
        on_start: called with the index of each job that starts.

    Raises:
        RunError: a process cannot be started.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    waiting = deque(enumerate(jobs))
    running: list[_Worker] = []
    free_slots = list(range(workers))
    try:
        while waiting or running:
            while waiting and free_slots:
                index, job = waiting.popleft()
                slot = free_slots.pop(0)
                device = devices[slot % len(devices)] if devices else None
                receiver, sender = context.Pipe()
                arguments = (cloudpickle.dumps(job.call), job.output, sender, threads, device)
                process = context.Process(target=run_in_this_process, args=arguments)
                _start(process)
                sender.close()
                running.append(_Worker(index, slot, process, receiver))
                if on_start is not None:
                    on_start(index)
            ready = set(wait([w.process.sentinel for w in running] + [w.connection for w in running]))
            for worker in [w for w in running if {w.process.sentinel, w.connection} & ready]:
                result = worker.result()
                running.remove(worker)
                free_slots.append(worker.slot)
                yield worker.index, result
    finally:
        _terminate([worker.process for worker in running])


def _start(process: BaseProcess) -> None:
    try:
        process.start()
    except (OSError, EOFError, MemoryError) as error:  # EOFError: the fork server has ended
        reason = str(error) or "the process that starts them has ended"
        raise RunError(
            f"cannot start the process of a job: {reason}; is its memory limited (ulimit -v)?"
        ) from error


def _terminate(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_PERIOD_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()
        _kill_group(process)


def _kill_group(process: BaseProcess) -> None:
    # Each job leads a process group, so that the processes that it started end with it.
    if process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
