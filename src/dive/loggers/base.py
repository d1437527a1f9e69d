"""What our own loggers share."""

import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers.logger import Logger

from dive.runs.atomic_io import atomic_write
from dive.runs.record import comparable_config, flatten, load_config

ID = re.compile(r"[0-9a-z]{8,32}")


class MetricsLogger(Logger):
    """A logger of metrics alone: hyperparameters stand in the run's ``config.yaml``. Subclasses log metrics."""

    @property
    def name(self) -> str:
        """Of this logger: that of its class."""
        return type(self).__name__.lower()

    @property
    def version(self) -> str:
        """None: a run has one of each."""
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


def shortest_decimals(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as the shortest decimals that stand for them: Lightning logs in float32.

    >>> shortest_decimals({"lr": 0.10000000149011612})
    {'lr': 0.1}
    """
    return {name: float(str(np.float32(value))) for name, value in metrics.items()}


def hyperparameters(folder: Path) -> dict[str, Any]:
    """What a run's ``config.yaml`` holds, nested keys joined by dots; empty where there is none."""
    return dict(flatten(comparable_config(load_config(folder) or {})))


def load_run_id(folder: Path, tool: str) -> str | None:
    """By what another tool knows a run, as `save_run_id` has written it; None where there is none."""
    try:
        noted = (folder / f"{tool}.id").read_text().strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return noted if ID.fullmatch(noted) else None


def save_run_id(folder: Path, tool: str, name: str) -> None:
    """Keep what another tool calls a run, so that it goes on under that name.

    Args:
        folder: of the run.
        tool: whose name it is.
        name: small letters and digits.
    """
    atomic_write(folder / f"{tool}.id", f"{name}\n")
