"""Stop training at NaN or infinity."""

import math
from typing import Any

import pytorch_lightning as pl
import torch

from dive.errors import RunError


class TerminateOnNonFinite(pl.Callback):
    """Fail a run whose weights or metrics are NaN or infinite, before they are saved.

    Values are checked once per epoch and whenever a checkpoint is saved: checks at each step would synchronize
    with the device.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the validation metrics."""
        for name, value in trainer.callback_metrics.items():
            if name.startswith("val/") and not math.isfinite(value):
                raise non_finite_error(f"{name} is {value.item()}", trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the training loss and the weights."""
        if not math.isfinite(pl_module.means["train"].loss_sum()):
            raise non_finite_error("train/loss is not finite", trainer)
        check_weights(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the weights about to be saved."""
        check_weights(trainer, pl_module)


def check_weights(trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
    """Raise RunError if a weight is not finite."""
    for name, param in pl_module.named_parameters():
        # A finite sum proves that all are finite, at a third of the cost; but the sum may overflow.
        if not math.isfinite(param.detach().sum()) and not torch.isfinite(param).all():
            raise non_finite_error(f"{name} is not finite", trainer)


def non_finite_error(problem: str, trainer: pl.Trainer) -> RunError:
    """The error, with the epoch and what may help."""
    return RunError(f"{problem} in epoch {trainer.current_epoch + 1}; a lower optimizer.lr may help")
