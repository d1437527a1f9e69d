"""Stop at the first number that is none."""

import math
from typing import Any

import pytorch_lightning as pl
import torch

from dive.errors import RunError


class TerminateOnNonFinite(pl.Callback):
    """Fail a run whose weights or metrics are NaN or infinite, before they are saved.

    It looks once an epoch, and whenever a checkpoint is made: to look at each step would make the program wait for
    the device.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the validation metrics."""
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and not math.isfinite(value):
                raise RunError(
                    f"{name} is {value.item()} in epoch {trainer.current_epoch + 1}; a lower optimizer.lr may help"
                )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the training loss and the weights."""
        if not math.isfinite(pl_module.means["train"].loss_sum()):
            raise RunError(
                f"train/loss is not finite in epoch {trainer.current_epoch + 1}; a lower optimizer.lr may help"
            )
        self._look_at_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Look at what is to be saved."""
        self._look_at_weights(trainer, pl_module)

    def _look_at_weights(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for name, param in pl_module.named_parameters():
            # A sum is finite only if all are, and is found at a third of the price; but it may overflow.
            if not math.isfinite(param.detach().sum()) and not torch.isfinite(param).all():
                raise RunError(
                    f"{name} is not finite in epoch {trainer.current_epoch + 1}; a lower optimizer.lr may help"
                )
