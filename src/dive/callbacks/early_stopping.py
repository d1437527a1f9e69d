"""Stop training when the monitored metric has stopped improving."""

from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning import callbacks

from dive.callbacks.once_per_validation import OncePerValidation
from dive.tasks.metric_mode import metric_mode


class EarlyStopping(OncePerValidation, callbacks.EarlyStopping):
    """Stop when a metric has not improved in `patience` validations.

    Args:
        monitor: the metric.
        patience: number of validations without improvement after which training stops.
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
            check_on_train_epoch_end=True,  # called by OncePerValidation
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Do not train further when a run that had stopped early is resumed, unless `patience` is higher now."""
        if self.wait_count < self.patience:
            self.stopped_epoch = 0
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the progress; `patience` remains as configured."""
        super().load_state_dict(state_dict | {"patience": self.patience})
