"""How fast it trains."""

import time

import pytorch_lightning as pl
import torch


class Throughput(pl.Callback):
    """Log the examples trained on per second, ``train/samples_per_second``, validation not counted.

    Attributes:
        seconds: spent in training steps, over all epochs of this process.
        samples: trained on in that time.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.samples = 0
        self._start: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        synchronize(pl_module.device)
        self._start = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: validation comes inside the training epoch."""
        self._stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock where there was no validation."""
        self._stop(trainer, pl_module)

    def _stop(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._start is None:
            return
        synchronize(pl_module.device)
        seconds, self._start = time.perf_counter() - self._start, None
        samples = pl_module.means["train"].num_examples * trainer.world_size
        self.seconds += seconds
        self.samples += samples
        pl_module.log("train/samples_per_second", samples / seconds, sync_dist=True)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
