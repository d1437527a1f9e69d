"""A run is a directory that tells its whole story."""

import json
import logging
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import yaml
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dive import provenance
from dive.errors import RunError, UserError
from dive.files import put
from dive.log import log_to
from dive.recorded import differences, recorded_config

log = logging.getLogger(__name__)

# What may differ when a run goes on: all else stands in its checkpoint, and would be told wrong.
MAY_CHANGE = ("trainer", "callbacks", "logger")


class Run:
    """One training run and its directory, from the claim to ``result.json``, which is written last.

    On entering, the directory is claimed and the story's beginning written: ``config.yaml``, ``command.txt``,
    ``environment.json``, ``code.diff``, ``train.log``. On leaving without `finish`, the result says failed or
    interrupted, and why.

    Args:
        directory: new or empty but for Hydra's own files; with `resume`, that of an earlier run.
        config: the resolved configuration.
        command: that repeats the run; None for what was typed to start this process.
        resume: go on with the run in this directory.
        quiet: say nothing on the terminal: the run is one of many.

    Raises:
        RunError: (on entering) the directory holds another run, nothing to resume, or another configuration.
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
        self._start = time.perf_counter()

    @property
    def checkpoint(self) -> Path | None:
        """Where to go on from; None for a new run."""
        return self.directory / "checkpoints" / "last.ckpt" if self.resume else None

    def __enter__(self) -> Self:
        if rank_zero_only.rank == 0:
            self._claim()
            self._tell()
        log_to(self.directory / "train.log", terminal=not self.quiet)
        return self

    def _claim(self) -> None:
        if self.checkpoint and not self.checkpoint.is_file():
            raise RunError(f"resume={self.directory}: nothing to go on from, {self.checkpoint} does not exist")
        if self.resume and (changed := self._changed()):
            raise RunError(
                f"resume={self.directory}: {'; '.join(changed)}: a run goes on as it began; "
                f"only {', '.join(MAY_CHANGE)} may change"
            )
        if not self.resume:
            self.directory.mkdir(parents=True, exist_ok=True)
            try:
                (self.directory / "config.yaml").touch(exist_ok=False)
            except FileExistsError:
                raise RunError(
                    f"{self.directory} already holds a run; choose another hydra.run.dir, or go on with it: "
                    f"resume={self.directory}"
                ) from None

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
            put(self.directory / "result.json", json.dumps(result, indent=2, allow_nan=False) + "\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            return
        exit_code = None
        if isinstance(error, SIGTERMException) or (isinstance(error, SystemExit) and error.code == 143):
            exit_code = 143
        elif isinstance(error, KeyboardInterrupt):
            exit_code = 130
        elif isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
            exit_code = 130  # Lightning turns Ctrl-C into SystemExit(1)
        if exit_code is None:
            log.debug("the run failed", exc_info=error)
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            self._write_result({"status": "failed", "error": why})
            return
        self._write_result({"status": "interrupted", "error": f"exit code {exit_code}"})
        if (self.directory / "checkpoints" / "last.ckpt").is_file():
            log.info("interrupted; to go on: python train.py resume=%s", self.directory)
        raise SystemExit(exit_code) from error


def peak_memory_mb() -> dict[str, float]:
    """The most memory this process has held, and the most tensors on each GPU have taken, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"cpu": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    return peak | {f"cuda:{i}": torch.cuda.max_memory_allocated(i) / 1e6 for i in range(torch.cuda.device_count())}
