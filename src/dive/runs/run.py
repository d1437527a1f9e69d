"""A training run and its directory."""

import json
import logging
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock, Timeout
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dive.errors import RunError, UserError
from dive.runs import provenance
from dive.runs.atomic_io import atomic_write, remove_temp_files
from dive.runs.checkpoint_io import load_checkpoint
from dive.runs.lock import LOCK_FILE
from dive.runs.logging import add_file_handler
from dive.runs.plain_files import require_plain_run
from dive.runs.plain_yaml import dump_plain
from dive.runs.record import to_json
from dive.runs.resume import check_resume_compatible, latest_valid_checkpoint
from dive.runs.signals import RunInterrupted, SignalHandlers

log = logging.getLogger(__name__)

CHECKPOINT_NAMES = ("last.ckpt", "best.ckpt")
PROC_STATUS = Path("/proc/self/status")


@dataclass
class Run:
    """A training run and its directory, from acquiring its lock to writing ``result.json``, which is written last.

    On entry, it locks the directory and writes ``config.yaml``, ``command.txt``, ``environment.json``,
    ``code.diff`` and ``train.log``. On exit without `finish`, the result has the status ``failed`` or
    ``interrupted`` and the reason. In between, SIGTERM and Ctrl-C are handled by `dive.runs.signals`.

    Args:
        directory: new, or empty except for Hydra's own files; with `resume`, the directory of an earlier run.
        config: the resolved configuration.
        command: the command that repeats the run; if empty, the command line of this process.
        resume: resume the run in this directory.
        quiet: log to the file only, not to the terminal.

    Raises:
        RunError: (on entry) the directory contains another run, or one in progress; or, with `resume`, there is no
            checkpoint, or the configuration has changed.

    Attributes:
        checkpoint: the checkpoint to resume from: the last one if it is valid, else the best; None for a new run.
    """

    directory: Path
    config: dict[str, Any]
    command: str = ""
    resume: bool = False
    quiet: bool = False
    checkpoint: Path | None = field(default=None, init=False)
    _start: float = field(default_factory=time.perf_counter, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __post_init__(self) -> None:
        self.command = self.command or provenance.command()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            skipped = self._find_checkpoint() if self.resume else []
            if rank_zero_only.rank == 0:
                self._lock(stack)
                self._write_metadata()
            stack.enter_context(SignalHandlers(self._on_forced_exit))
            self._stack = stack.pop_all()
        add_file_handler(self.directory / "train.log", terminal=not self.quiet)
        for problem in skipped:
            log.warning("%s; resuming from %s", problem, self.checkpoint)
        return self

    def _find_checkpoint(self) -> list[str]:
        require_plain_run(self.directory)
        paths = [self.directory / "checkpoints" / name for name in CHECKPOINT_NAMES]
        self.checkpoint, problems = latest_valid_checkpoint(paths)
        if self.checkpoint is None:
            raise RunError(f"resume={self.directory}: no checkpoint to resume from: {'; '.join(problems)}")
        return problems

    def _lock(self, stack: ExitStack) -> None:
        if not self.resume:
            self.directory.mkdir(parents=True, exist_ok=True)
        try:
            stack.enter_context(FileLock(self.directory / LOCK_FILE, blocking=False))
        except Timeout:
            raise RunError(f"{self.directory}: another process is running in this directory") from None
        if self.checkpoint is not None:
            check_resume_compatible(self.directory, load_checkpoint(self.checkpoint), self.config)
            remove_temp_files(self.directory)
            remove_temp_files(self.directory / "checkpoints")
        elif (self.directory / "config.yaml").exists():
            raise RunError(
                f"{self.directory} already contains a run; choose another hydra.run.dir, or resume it: "
                f"resume={self.directory}"
            )

    def _write_metadata(self) -> None:
        (self.directory / "result.json").unlink(missing_ok=True)
        with (self.directory / "command.txt").open("a") as file:
            file.write(f"{self.command}\n")
        atomic_write(self.directory / "config.yaml", dump_plain(self.config))
        atomic_write(self.directory / "environment.json", json.dumps(provenance.environment(), indent=2) + "\n")
        atomic_write(self.directory / "code.diff", provenance.code_diff())

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json`` with the status ``finished`` and these entries, in JSON types."""
        self._write_result({"status": "finished", **result})

    def _write_result(self, result: dict[str, Any]) -> None:
        if rank_zero_only.rank == 0:
            result |= {"seconds": time.perf_counter() - self._start, "peak_memory_mb": peak_memory_mb()}
            content = json.dumps(to_json(result), indent=2) + "\n"
            atomic_write(self.directory / "result.json", content, durable=True)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        with self._stack:
            if error is None:
                return
            # Raised where SignalHandlers are not active.
            if isinstance(error, SIGTERMException | KeyboardInterrupt):
                error = RunInterrupted(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
            if isinstance(error, RunInterrupted):
                log.info("%s", self._interrupted(error.exit_code))
                raise SystemExit(error.exit_code) from error
            log.debug("the run failed", exc_info=error)
            reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            try:
                self._write_result({"status": "failed", "error": reason})
            except OSError as write_error:  # such as a full disk; the original error must propagate
                log.error("%s: result.json cannot be written: %s", self.directory, write_error.strerror)

    def _interrupted(self, exit_code: int) -> str:
        self._write_result({"status": "interrupted", "error": signal.Signals(exit_code - 128).name})
        if any((self.directory / "checkpoints" / name).is_file() for name in CHECKPOINT_NAMES):
            return f"interrupted; to resume: python train.py resume={self.directory}"
        return f"interrupted before the first checkpoint; {self.directory} cannot be resumed"

    def _on_forced_exit(self, exit_code: int) -> None:
        os.write(1, f"{self._interrupted(exit_code)}\n".encode())


def peak_memory_mb() -> dict[str, float]:
    """The peak memory of this process and of the tensors on each GPU, in 10^6 bytes."""
    # On Linux, ru_maxrss also counts the process that started this one; psutil has no peak.
    if PROC_STATUS.exists():
        peak = int(re.findall(r"VmHWM:\s*(\d+) kB", PROC_STATUS.read_text())[0]) * 1024
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    gpus = range(torch.cuda.device_count())
    return {"cpu": peak / 1e6} | {f"cuda:{i}": torch.cuda.max_memory_allocated(i) / 1e6 for i in gpus}
