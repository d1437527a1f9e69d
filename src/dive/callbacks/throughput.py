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
        self._before_this_epoch = 0.0
        self._since: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._before_this_epoch = self.seconds
        self._start(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: validation comes inside the training epoch."""
        self._stop(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on: there may be more training in this epoch."""
        self._start(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock and log."""
        self._stop(pl_module)
        samples = pl_module.means["train"].num_examples * trainer.world_size
        self.samples += samples
        speed = samples / (self.seconds - self._before_this_epoch)
        pl_module.log("train/samples_per_second", speed, sync_dist=True)

    def _start(self, pl_module: pl.LightningModule) -> None:
        synchronize(pl_module.device)
        self._since = time.perf_counter()

    def _stop(self, pl_module: pl.LightningModule) -> None:
        if self._since is not None:
            synchronize(pl_module.device)
            self.seconds += time.perf_counter() - self._since
            self._since = None


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
