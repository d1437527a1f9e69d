"""The learning rate as a curve."""

import pytorch_lightning as pl


class LearningRateMonitor(pl.Callback):
    """Log the learning rate of each epoch as ``lr``."""

    def __init__(self) -> None:
        self._lr: float | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Discard the state of an aborted fit."""
        self._lr = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the rate, unless the epoch is resumed: its scheduler may already have stepped before validation."""
        if self._lr is None:
            self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the learning rate of this epoch."""
        assert self._lr is not None
        pl_module.extra_metrics["lr"] = self._lr
        self._lr = None

    def state_dict(self) -> dict[str, float | None]:
        """The learning rate of the current epoch."""
        return {"rate": self._lr}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Restore it for a resumed epoch."""
        self._lr = state_dict["rate"]
