"""The learning rate as a curve."""

import pytorch_lightning as pl


class LearningRateMonitor(pl.Callback):
    """Log the learning rate of each epoch as ``lr``."""

    def __init__(self) -> None:
        self._rate: float | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Forget what a fit that was broken off has left."""
        self._rate = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read it off the optimizer, unless the epoch goes on: schedulers step before validation."""
        if self._rate is None:
            self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have it logged; the next epoch has its own."""
        assert self._rate is not None
        pl_module.extra_metrics["lr"] = self._rate
        self._rate = None

    def state_dict(self) -> dict[str, float | None]:
        """The rate of an epoch that is under way."""
        return {"rate": self._rate}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Go on with that epoch."""
        self._rate = state_dict["rate"]
