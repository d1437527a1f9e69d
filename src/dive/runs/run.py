"""A run is a directory that tells its whole story."""

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
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import yaml
from filelock import FileLock, Timeout
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dive.errors import RunError, UserError
from dive.runs import provenance
from dive.runs.atomic_io import atomic_write, remove_temp_files
from dive.runs.checkpoint_io import load_checkpoint
from dive.runs.lock import LOCK_FILE
from dive.runs.logging import add_file_handler
from dive.runs.record import to_json
from dive.runs.resume import check_resume_compatible, latest_valid_checkpoint
from dive.runs.signals import RunInterrupted, SignalHandlers

log = logging.getLogger(__name__)

CHECKPOINT_NAMES = ("last.ckpt", "best.ckpt")
PROC_STATUS = Path("/proc/self/status")


class Run:
    """One training run and its directory, from the claim to ``result.json``, which is written last.

    On entering, the directory is claimed and the story's beginning written: ``config.yaml``, ``command.txt``,
    ``environment.json``, ``code.diff``, ``train.log``. On leaving without `finish`, the result says failed or
    interrupted, and why. Within, SIGTERM and Ctrl-C are heeded as `dive.runs.signals` tells.

    Args:
        directory: new or empty but for Hydra's own files; with `resume`, that of an earlier run.
        config: the resolved configuration.
        command: that repeats the run; None for what was typed to start this process.
        resume: go on with the run in this directory.
        quiet: say nothing on the terminal: the run is one of many.

    Raises:
        RunError: (on entering) the directory holds another run, one that still goes, nothing to resume, or another
            configuration.

    Attributes:
        checkpoint: where to go on from: the last one, or else the best; None for a new run.
    """

    def __init__(
        self,
        directory: Path,
        config: dict[str, Any],
        command: str | None = None,
        resume: bool = False,
        quiet: bool = False,
    ) -> None:
        self.directory = directory
        self.config = config
        self.command = command or provenance.command()
        self.resume = resume
        self.quiet = quiet
        self.checkpoint: Path | None = None
        self._start = time.perf_counter()
        self._within = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            passed_over = self._find_checkpoint() if self.resume else []
            if rank_zero_only.rank == 0:
                self._claim(entered)
                self._tell()
            entered.enter_context(SignalHandlers(self._leave_at_once))
            self._within = entered.pop_all()
        add_file_handler(self.directory / "train.log", terminal=not self.quiet)
        for why in passed_over:
            log.warning("%s; going on from %s", why, self.checkpoint)
        return self

    def _find_checkpoint(self) -> list[str]:
        kept = [self.directory / "checkpoints" / name for name in CHECKPOINT_NAMES]
        self.checkpoint, wrong = latest_valid_checkpoint(kept)
        if self.checkpoint is None:
            raise RunError(f"resume={self.directory}: nothing to go on from: {'; '.join(wrong)}")
        return wrong

    def _claim(self, entered: ExitStack) -> None:
        if not self.resume:
            self.directory.mkdir(parents=True, exist_ok=True)
        try:
            entered.enter_context(FileLock(self.directory / LOCK_FILE, blocking=False))
        except Timeout:
            raise RunError(f"{self.directory}: a run is under way in it") from None
        if self.checkpoint is not None:
            check_resume_compatible(self.directory, load_checkpoint(self.checkpoint), self.config)
            remove_temp_files(self.directory)
            remove_temp_files(self.directory / "checkpoints")
        elif (self.directory / "config.yaml").exists():
            raise RunError(
                f"{self.directory} already holds a run; choose another hydra.run.dir, or go on with it: "
                f"resume={self.directory}"
            )

    def _tell(self) -> None:
        (self.directory / "result.json").unlink(missing_ok=True)
        with (self.directory / "command.txt").open("a") as file:
            file.write(self.command + "\n")
        atomic_write(self.directory / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        atomic_write(self.directory / "environment.json", json.dumps(provenance.environment(), indent=2) + "\n")
        atomic_write(self.directory / "code.diff", provenance.code_diff())

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``: the run is done.

        Args:
            result: what came out, in JSON's types.
        """
        self._write_result({"status": "finished", **result})

    def _write_result(self, result: dict[str, Any]) -> None:
        if rank_zero_only.rank == 0:
            result |= {"seconds": time.perf_counter() - self._start, "peak_memory_mb": peak_memory_mb()}
            atomic_write(
                self.directory / "result.json", json.dumps(to_json(result), indent=2) + "\n", durable=True
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._within:
            if error is None:
                return
            if isinstance(error, SIGTERMException | KeyboardInterrupt):  # where `Signals` leaves them to others
                error = RunInterrupted(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
            if isinstance(error, RunInterrupted):
                self._write_interrupted(error.exit_code)
                log.info("%s", self._last_words())
                raise SystemExit(error.exit_code) from error
            log.debug("the run failed", exc_info=error)
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            try:
                self._write_result({"status": "failed", "error": why})
            except OSError as unwritten:  # a full disk, say: what went wrong first is passed on
                log.error("%s: no result: %s", self.directory, unwritten.strerror)

    def _write_interrupted(self, exit_code: int) -> None:
        self._write_result({"status": "interrupted", "error": signal.Signals(exit_code - 128).name})

    def _last_words(self) -> str:
        if any((self.directory / "checkpoints" / name).is_file() for name in CHECKPOINT_NAMES):
            return f"interrupted; to go on: python train.py resume={self.directory}"
        return f"interrupted; nothing had been saved, {self.directory} cannot be gone on with"

    def _leave_at_once(self, exit_code: int) -> None:
        self._write_interrupted(exit_code)
        os.write(1, f"{self._last_words()}\n".encode())


def peak_memory_mb() -> dict[str, float]:
    """The most memory this process has held, and the most tensors on each GPU have taken, in 10^6 bytes."""
    if PROC_STATUS.exists():  # on Linux the other figure is at least what the process held that started this one
        held = int(re.findall(r"VmHWM:\s*(\d+) kB", PROC_STATUS.read_text())[0]) * 1024
    else:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    peak = {"cpu": held / 1e6}
    return peak | {f"cuda:{i}": torch.cuda.max_memory_allocated(i) / 1e6 for i in range(torch.cuda.device_count())}
