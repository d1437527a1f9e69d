"""Code that the loggers share."""

import re
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers.logger import Logger

from dive.errors import CorruptRecordError
from dive.runs.atomic_io import atomic_write
from dive.runs.record import comparable_config, flatten, load_config
from dive.runs.record_schema import read_text

RUN_ID = re.compile(r"[0-9a-z]{8,32}")


class MetricsLogger(Logger):
    """Base class of loggers that log only metrics; hyperparameters are in the ``config.yaml`` of the run."""

    name = version = ""  # files have fixed names in the run directory

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing."""


def shortest_decimals(metrics: Mapping[str, float]) -> dict[str, float]:
    """Round metrics, which Lightning logs in float32, to the shortest decimals with the same float32 value.

    >>> shortest_decimals({"lr": 0.10000000149011612})
    {'lr': 0.1}
    """
    return {name: float(str(np.float32(value))) for name, value in metrics.items()}


def load_hyperparameters(run_dir: Path) -> dict[str, Any]:
    """The ``config.yaml`` of a run with nested keys joined by dots; empty if there is none."""
    return dict(flatten(comparable_config(load_config(run_dir) or {})))


def load_run_id(run_dir: Path, tool: str) -> str | None:
    """The ID of a run in another tool, as saved by `save_run_id`; None if there is no valid one."""
    with suppress(FileNotFoundError, CorruptRecordError):
        if RUN_ID.fullmatch(run_id := read_text(run_dir / f"{tool}.id").strip()):
            return run_id
    return None


def save_run_id(run_dir: Path, tool: str, run_id: str) -> None:
    """Save the ID that another tool assigned to a run, so that a resumed run continues under it.

    The ID consists of lower-case letters and digits.
    """
    atomic_write(run_dir / f"{tool}.id", f"{run_id}\n")
