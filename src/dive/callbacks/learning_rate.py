"""The learning rate as a curve."""

import pytorch_lightning as pl


class LearningRate(pl.Callback):
    """Log the learning rate of each epoch as ``lr``."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read it off the optimizer."""
        pl_module.log("lr", trainer.optimizers[0].param_groups[0]["lr"], sync_dist=True)
