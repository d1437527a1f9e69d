"""Logging what an epoch came to."""

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor


def log_epoch_metrics(module: pl.LightningModule, metrics: Mapping[str, Tensor | float]) -> None:
    """Log metrics of an epoch that has come to its end, for loggers, and for callbacks to monitor.

    It does what `LightningModule.log` does, which takes a millisecond a metric, where a small epoch takes but ten.
    That is called among several processes, and outside of a fit: there Lightning returns what was logged, or in a
    sanity check forgets it.

    Args:
        module: being trained.
        metrics: scalars, by name.
    """
    trainer = module.trainer
    if trainer.world_size > 1 or trainer.state.fn is not TrainerFn.FITTING or trainer.sanity_checking:
        for name, value in metrics.items():
            module.log(name, value, sync_dist=True)
        return
    tensors = {name: torch.as_tensor(value, dtype=torch.get_default_dtype()) for name, value in metrics.items()}
    trainer.callback_metrics.update(tensors)
    trainer.logged_metrics.update(tensors)
    logged = {name: value.item() for name, value in tensors.items()} | {"epoch": trainer.current_epoch}
    for logger in trainer.loggers if tensors else []:
        logger.log_metrics(logged, step=trainer.global_step - 1)
