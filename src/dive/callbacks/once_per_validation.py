"""Evaluate a monitored metric once per validation."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn


class OncePerValidation(pl.Callback):
    """Mixin of callbacks whose `on_train_epoch_end` compares the attribute `monitor` with its best value.

    It is then called once for each validation: also within epochs (`trainer.val_check_interval`), and not after
    epochs without validation (`trainer.check_val_every_n_epoch`), when the metric would be that of an earlier one.
    A validation after the last batch of an epoch counts when the epoch ends: all its metrics are logged then. A
    metric of training, and any metric of a run without validation, counts at the end of each epoch.
    """

    monitor: Any
    _validated_step = _evaluated_step = -1

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Discard the state of an earlier fit, which may have had the same steps."""
        super().setup(trainer, pl_module, stage)
        self._validated_step = self._evaluated_step = -1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate the metric after a validation within an epoch."""
        if trainer.state.fn is not TrainerFn.FITTING or trainer.sanity_checking:
            return
        self._validated_step = trainer.global_step
        if not self._is_train_metric() and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._evaluate(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate the metric after a validation at the end of an epoch."""
        if self._is_train_metric() or not trainer.enable_validation or self._validated_step == trainer.global_step:
            self._evaluate(trainer, pl_module)

    def _is_train_metric(self) -> bool:
        return str(self.monitor).startswith("train")

    def _evaluate(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._evaluated_step != trainer.global_step:  # `max_steps` can end an epoch right after a validation
            self._evaluated_step = trainer.global_step
            super().on_train_epoch_end(trainer, pl_module)
