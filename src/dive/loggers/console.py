"""One line per epoch on the terminal and in the run's log file."""

import logging
import os
from collections.abc import Mapping

from pytorch_lightning.utilities import rank_zero_only

from dive.loggers.base import MetricsLogger, shortest_decimals

log = logging.getLogger(__name__)


class ConsoleLogger(MetricsLogger):
    """Prints the metrics of each epoch as one line, once its training metrics are logged.

    Args:
        save_dir: the run directory; unused, the lines go through `logging`.
    """

    def __init__(self, save_dir: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self._pending: dict[str, float] = {}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Collect the metrics of an epoch, and print them once they include the training loss."""
        self._pending |= shortest_decimals(metrics)  # rounded as in result.json
        if "train/loss" not in self._pending:
            return
        epoch = int(self._pending.pop("epoch", 0)) + 1
        values = [
            f"{name} {value:.4g}"
            for name, value in sorted(self._pending.items())
            if name.rsplit("/")[-1] in ("loss", "acc", "mse")
        ]
        log.info("epoch %2d  %s", epoch, "  ".join(values))
        self._pending = {}
