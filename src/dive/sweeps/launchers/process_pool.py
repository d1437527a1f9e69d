"""Tasks in processes of their own, some at a time: the death of one costs only itself."""

import multiprocessing
import os
import signal
import threading
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

# Imported once, by the server from which processes are forked: they start in hundredths of a second, not in ten.
PRELOADED = ["dive.training.instantiate", "dive.training.result", "dive.runs.run"]
GRACE_PERIOD_S = 10.0  # to save and leave after being asked to


@dataclass(frozen=True)
class ProcessJob:
    """What to call in a process of its own.

    Args:
        call: takes nothing; what it returns, or raises, comes back.
        output: the file that what it prints is appended to; None lets it print.
    """

    call: Callable[[], Any]
    output: Path | None = None


@dataclass(frozen=True)
class ProcessResult:
    """How a task ended.

    Attributes:
        value: what it returned.
        error: what it raised, or how it was killed, as text; None where it returned.
    """

    value: Any = None
    error: str | None = None


@dataclass
class _Running:
    index: int
    slot: int
    process: BaseProcess
    connection: Connection

    def ended(self) -> ProcessResult:
        # Read first: a process that has much to say waits until somebody listens.
        told = None
        with suppress(EOFError, OSError):
            told = self.connection.recv() if self.connection.poll() else None
        self.process.join()
        _kill_group(self.process)
        if told is not None:
            return ProcessResult(**told)
        code = self.process.exitcode or 0
        if code < 0:
            hint = " (for want of memory?)" if -code == signal.SIGKILL else ""
            return ProcessResult(error=f"killed by {signal.Signals(-code).name}{hint}")
        return ProcessResult(error=f"left with exit status {code}")


def run_jobs(
    tasks: Sequence[ProcessJob],
    workers: int,
    threads: int,
    devices: Sequence[str] = (),
    started: Callable[[int], None] | None = None,
) -> Generator[tuple[int, ProcessResult]]:
    """Run tasks, and yield the index of each and how it ended, as they end.

    When the caller breaks off, or is interrupted, those that run are asked to end (SIGTERM), and killed after
    `GRACE_PERIOD_S`. When this process dies, they die with it.

    Args:
        tasks: what to run.
        workers: how many at a time, at least 1.
        threads: of torch in each.
        devices: what CUDA_VISIBLE_DEVICES is to be, by turns; empty leaves it alone.
        started: called with the index of each task that starts.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    waiting = deque(enumerate(tasks))
    running: list[_Running] = []
    free = list(range(workers))
    try:
        while waiting or running:
            while waiting and free:
                index, task = waiting.popleft()
                slot = free.pop(0)
                device = devices[slot % len(devices)] if devices else None
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_process, args=(cloudpickle.dumps(task.call), task.output, theirs, threads, device)
                )
                process.start()
                theirs.close()
                running.append(_Running(index, slot, process, ours))
                if started is not None:
                    started(index)
            ready = wait([one.process.sentinel for one in running] + [one.connection for one in running])
            for done in [one for one in running if {one.process.sentinel, one.connection} & set(ready)]:
                ended = done.ended()
                running.remove(done)
                free.append(done.slot)
                yield done.index, ended
    finally:
        _end([one.process for one in running])


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_PERIOD_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()
        _kill_group(process)


def _kill_group(process: BaseProcess) -> None:
    # A task leads a group of processes: those that it started go with it.
    if process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _process(call: bytes, output: Path | None, connection: Connection, threads: int, device: str | None) -> None:
    multiprocessing.set_start_method(None, force=True)  # its own processes start as they would in a run alone
    os.setpgrp()  # Ctrl-C on the terminal is for the parent, which then tells this process
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    import torch

    torch.set_num_threads(threads)
    try:
        ended = {"value": cloudpickle.loads(call)()}
    except Exception as error:
        ended = {"error": f"{type(error).__name__}: {error}"}
    connection.send(ended)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
