"""Stop at the first number that is none."""

import pytorch_lightning as pl
import torch

from dive.errors import RunError


class NanGuard(pl.Callback):
    """Fail a run whose weights or validation metrics are NaN or infinite, before that epoch is saved.

    It looks once an epoch: to look at each step would make the program wait for the device.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the validation metrics."""
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and not torch.isfinite(value):
                raise RunError(
                    f"{name} is {value.item()} in epoch {trainer.current_epoch + 1}; a lower optimizer.lr may help"
                )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the training loss and the weights."""
        if not torch.isfinite(pl_module.means["train"].total("loss")):
            raise RunError(
                f"train/loss is not finite in epoch {trainer.current_epoch + 1}; a lower optimizer.lr may help"
            )
        for name, param in pl_module.named_parameters():
            if not torch.isfinite(param).all():
                raise RunError(
                    f"{name} is not finite after epoch {trainer.current_epoch + 1}; a lower optimizer.lr may help"
                )
