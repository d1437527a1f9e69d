"""The learning rate as a curve."""

from typing import Any

import pytorch_lightning as pl


class LearningRate(pl.Callback):
    """Log the learning rate of each epoch as ``lr``."""

    def __init__(self) -> None:
        self._of_epoch: tuple[int, float] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read it off the optimizer; an epoch that goes on keeps its own: the next one's may be set already."""
        epoch = trainer.current_epoch
        if self._of_epoch is None or self._of_epoch[0] != epoch:
            self._of_epoch = (epoch, trainer.optimizers[0].param_groups[0]["lr"])
        pl_module.log("lr", self._of_epoch[1], sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and its rate."""
        return {"of_epoch": self._of_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember them."""
        self._of_epoch = state_dict["of_epoch"]
