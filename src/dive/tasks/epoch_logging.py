"""Logging the metrics of an epoch."""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor


def log_epoch_metrics(module: pl.LightningModule, metrics: Mapping[str, Tensor | float]) -> None:
    """Log scalars by name at the end of an epoch, to the loggers and for callbacks to monitor.

    Equivalent to `LightningModule.log`, which takes a millisecond per metric; a small epoch takes only ten.
    With several processes and outside of a fit, `log` itself is called: there Lightning returns the logged
    metrics, or discards those of a sanity check.
    """
    trainer = module.trainer
    if trainer.world_size > 1 or trainer.state.fn is not TrainerFn.FITTING or trainer.sanity_checking:
        for name, value in metrics.items():
            module.log(name, value, sync_dist=True)
        return
    tensors = {name: torch.as_tensor(value, dtype=torch.get_default_dtype()) for name, value in metrics.items()}
    trainer.callback_metrics.update(tensors)
    trainer.logged_metrics.update(tensors)
    scalars = {name: value.item() for name, value in tensors.items()} | {"epoch": trainer.current_epoch}
    for logger in trainer.loggers if tensors else []:
        logger.log_metrics(scalars, step=trainer.global_step - 1)
