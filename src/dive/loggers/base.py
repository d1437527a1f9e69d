"""What our own loggers share."""

from argparse import Namespace
from typing import Any

from pytorch_lightning.loggers.logger import Logger


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
