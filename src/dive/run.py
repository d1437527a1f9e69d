"""A run is a directory that tells its whole story."""

import json
import logging
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

from dive import provenance
from dive.checkpoints import newest_sound
from dive.errors import RunError, UserError
from dive.files import put, tidy
from dive.log import log_to
from dive.recorded import differences, recorded_config
from dive.signals import Interrupted, Signals

log = logging.getLogger(__name__)

# What may differ when a run goes on: all else stands in its checkpoint, and would be told wrong.
MAY_CHANGE = ("trainer", "callbacks", "logger")

CHECKPOINTS = ("last.ckpt", "best.ckpt")
LOCK = ".lock"


class Run:
    """One training run and its directory, from the claim to ``result.json``, which is written last.

    On entering, the directory is claimed and the story's beginning written: ``config.yaml``, ``command.txt``,
    ``environment.json``, ``code.diff``, ``train.log``. On leaving without `finish`, the result says failed or
    interrupted, and why. Within, SIGTERM and Ctrl-C are heeded as `dive.signals` tells.

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
            damaged = self._find_checkpoint() if self.resume else []
            if rank_zero_only.rank == 0:
                self._claim(entered)
                self._tell()
            entered.enter_context(Signals(self._last_words))
            self._within = entered.pop_all()
        log_to(self.directory / "train.log", terminal=not self.quiet)
        for message in damaged:
            log.warning("%s; going on from %s", message, self.checkpoint)
        return self

    def _find_checkpoint(self) -> list[str]:
        kept = [self.directory / "checkpoints" / name for name in CHECKPOINTS]
        self.checkpoint, damaged = newest_sound(kept)
        if self.checkpoint is None:
            why = "; ".join(damaged) or f"{kept[0]} does not exist"
            raise RunError(f"resume={self.directory}: nothing to go on from, {why}")
        return damaged

    def _claim(self, entered: ExitStack) -> None:
        if not self.resume:
            self.directory.mkdir(parents=True, exist_ok=True)
        try:
            entered.enter_context(FileLock(self.directory / LOCK, blocking=False))
        except Timeout:
            raise RunError(f"{self.directory}: a run is under way in it") from None
        if self.resume:
            if changed := self._changed():
                raise RunError(
                    f"resume={self.directory}: {'; '.join(changed)}: a run goes on as it began; "
                    f"only {', '.join(MAY_CHANGE)} may change"
                )
            tidy(self.directory)
            tidy(self.directory / "checkpoints")
        elif (self.directory / "config.yaml").exists():
            raise RunError(
                f"{self.directory} already holds a run; choose another hydra.run.dir, or go on with it: "
                f"resume={self.directory}"
            )

    def _changed(self) -> list[str]:
        recorded = recorded_config(self.directory) or {}
        allowed = tuple(f"{key}." for key in MAY_CHANGE)
        return [line for line in differences(recorded, self.config) if not line.startswith(allowed)]

    def _tell(self) -> None:
        (self.directory / "result.json").unlink(missing_ok=True)
        with (self.directory / "command.txt").open("a") as file:
            file.write(self.command + "\n")
        put(self.directory / "config.yaml", yaml.safe_dump(self.config, sort_keys=False))
        put(self.directory / "environment.json", json.dumps(provenance.environment(), indent=2) + "\n")
        put(self.directory / "code.diff", provenance.code_diff())

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``: the run is done.

        Args:
            result: what came out, in JSON's types.
        """
        self._write_result({"status": "finished", **result})

    def _write_result(self, result: dict[str, Any]) -> None:
        if rank_zero_only.rank == 0:
            result |= {"seconds": time.perf_counter() - self._start, "peak_memory_mb": peak_memory_mb()}
            put(self.directory / "result.json", json.dumps(result, indent=2, allow_nan=False) + "\n", durable=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._within:
            if error is None:
                return
            if isinstance(error, SIGTERMException | KeyboardInterrupt):  # where `Signals` leaves them to others
                error = Interrupted(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
            if isinstance(error, Interrupted):
                self._last_words(error.exit_code)
                if (self.directory / "checkpoints" / CHECKPOINTS[0]).is_file():
                    log.info("interrupted; to go on: python train.py resume=%s", self.directory)
                raise SystemExit(error.exit_code) from error
            log.debug("the run failed", exc_info=error)
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            try:
                self._write_result({"status": "failed", "error": why})
            except OSError as unwritten:  # a full disk, say: what went wrong first is passed on
                log.error("%s: no result: %s", self.directory, unwritten.strerror)

    def _last_words(self, exit_code: int) -> None:
        self._write_result({"status": "interrupted", "error": f"exit code {exit_code}"})


def peak_memory_mb() -> dict[str, float]:
    """The most memory this process has held, and the most tensors on each GPU have taken, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    return peak | {f"cuda:{i}": torch.cuda.max_memory_allocated(i) / 1e6 for i in range(torch.cuda.device_count())}
