"""A line an epoch, for the terminal and the run's log."""

import logging
import os
from collections.abc import Mapping

from pytorch_lightning.utilities import rank_zero_only

from dive.loggers.base import MetricsLogger, shortest_decimals

log = logging.getLogger(__name__)


class ConsoleLogger(MetricsLogger):
    """Logs each epoch's metrics as one line, once its training metrics have come.

    Args:
        save_dir: the run's directory; unused, the lines go through `logging`.
    """

    def __init__(self, save_dir: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self._pending: dict[str, float] = {}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Gather an epoch's metrics, and print them when the training loss is among them."""
        self._pending |= shortest_decimals(metrics)  # so that they are rounded as in the result
        if "train/loss" not in self._pending:
            return
        epoch = int(self._pending.pop("epoch", 0))
        shown = {
            name: value for name, value in self._pending.items() if name.rsplit("/")[-1] in ("loss", "acc", "mse")
        }
        log.info(
            "epoch %2d  %s",
            epoch + 1,
            "  ".join(f"{name} {value:.4g}" for name, value in sorted(shown.items())),
        )
        self._pending = {}
