"""The process of a job: it calls one function, and ends with the process that started it."""

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import cloudpickle


def run_in_this_process(
    call: bytes, output: Path | None, connection: Connection, threads: int, device: str | None
) -> None:
    """Call a pickled function, and send its return value or error; `output` and others as in `run_jobs`."""
    multiprocessing.set_start_method(None, force=True)  # for the job's own subprocesses: as in a single run
    os.setpgrp()  # Ctrl-C on the terminal goes to the parent only, which then sends SIGTERM
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    try:
        import torch

        torch.set_num_threads(threads)
        message = {"value": cloudpickle.loads(call)()}
    except Exception as error:
        # Too little memory ends the first import of torch, in the fork server, which ignores that.
        hint = "; is its memory limited (ulimit -v)?" if "torch" not in sys.modules else ""
        message = {"error": f"{type(error).__name__}: {error}{hint}"}
    connection.send(message)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.killpg(0, signal.SIGKILL)
