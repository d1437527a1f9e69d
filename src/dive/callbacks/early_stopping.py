"""Stop training when the monitored metric has stopped improving."""

from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning import callbacks

from dive.tasks.metric_mode import metric_mode


class EarlyStopping(callbacks.EarlyStopping):
    """Stop when a metric has not improved for `patience` epochs.

    Args:
        monitor: the metric.
        patience: number of epochs without improvement after which training stops.
        min_delta: the smallest change that counts as an improvement.
        mode: whether lower (``"min"``) or higher (``"max"``) is better; ``"auto"`` infers it from the name.
    """

    def __init__(
        self, monitor: str, patience: int, min_delta: float = 0.0, mode: Literal["min", "max", "auto"] = "auto"
    ) -> None:
        super().__init__(
            monitor=monitor,
            mode=metric_mode(monitor, mode),
            patience=patience,
            min_delta=min_delta,
            check_on_train_epoch_end=True,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not train further when a run that had stopped early is resumed."""
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0
