"""How fast it trains."""

import time

import pytorch_lightning as pl
import torch


class ThroughputMonitor(pl.Callback):
    """Log the examples trained on per second, ``train/samples_per_second``, validation not counted.

    Attributes:
        train_seconds: spent in training steps, over all epochs.
        train_samples: trained on in that time.
    """

    def __init__(self) -> None:
        self.train_seconds = 0.0
        self.train_samples = 0
        self._epoch: tuple[float, int] | None = None
        self._since: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock. An epoch may have begun in an earlier process: what that one did is counted already."""
        self._seen = pl_module.means["train"]
        self._epoch = (self.train_seconds, self._seen.num_examples)
        self._start(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock: validation comes inside the training epoch."""
        self._stop(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on: there may be more training in this epoch."""
        self._start(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock, and have it logged."""
        self._stop(pl_module)
        assert self._epoch is not None
        samples, seconds = self._new_samples() * trainer.world_size, self.train_seconds - self._epoch[0]
        self.train_samples += samples
        self._epoch = None
        if samples:  # there are none where all steps of the epoch were taken before an interruption
            pl_module.extra_metrics["train/samples_per_second"] = samples / seconds

    def state_dict(self) -> dict[str, float]:
        """What has been counted, for a run that goes on."""
        running = time.perf_counter() - self._since if self._since is not None else 0.0
        return {"seconds": self.train_seconds + running, "samples": self.train_samples + self._new_samples()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Count on from there."""
        self.train_seconds, self.train_samples = state_dict["seconds"], int(state_dict["samples"])

    def _new_samples(self) -> int:
        return self._seen.num_examples - self._epoch[1] if self._epoch is not None else 0

    def _start(self, pl_module: pl.LightningModule) -> None:
        synchronize(pl_module.device)
        self._since = time.perf_counter()

    def _stop(self, pl_module: pl.LightningModule) -> None:
        if self._since is not None:
            synchronize(pl_module.device)
            self.train_seconds += time.perf_counter() - self._since
            self._since = None


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
