"""Training speed in examples per second."""

import time

import pytorch_lightning as pl
import torch


class ThroughputMonitor(pl.Callback):
    """Log the number of training examples per second, ``train/samples_per_second``, excluding validation.

    Attributes:
        train_seconds: time spent in training steps, over all epochs.
        train_samples: number of examples trained on in that time.
    """

    def __init__(self) -> None:
        self.train_seconds = 0.0
        self.train_samples = 0
        self._epoch_start: tuple[float, int] | None = None
        self._started_at: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the timer. In a resumed epoch, the examples of the earlier process are counted already."""
        self._means = pl_module.means["train"]
        self._epoch_start = (self.train_seconds, self._means.num_examples)
        self._start(pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the timer: validation runs within the training epoch."""
        self._stop(pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the timer: more training may follow in this epoch."""
        self._start(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the timer and log the throughput."""
        self._stop(pl_module)
        assert self._epoch_start is not None
        samples, seconds = self._new_samples() * trainer.world_size, self.train_seconds - self._epoch_start[0]
        self.train_samples += samples
        self._epoch_start = None
        if samples:  # 0 if all steps of the epoch were taken before an interruption
            pl_module.extra_metrics["train/samples_per_second"] = samples / seconds

    def state_dict(self) -> dict[str, float]:
        """Seconds and examples so far."""
        running = time.perf_counter() - self._started_at if self._started_at is not None else 0.0
        return {"seconds": self.train_seconds + running, "samples": self.train_samples + self._new_samples()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Restore the counts, which training then increases."""
        self.train_seconds, self.train_samples = state_dict["seconds"], int(state_dict["samples"])

    def _new_samples(self) -> int:
        return self._means.num_examples - self._epoch_start[1] if self._epoch_start is not None else 0

    def _start(self, pl_module: pl.LightningModule) -> None:
        synchronize(pl_module.device)
        self._started_at = time.perf_counter()

    def _stop(self, pl_module: pl.LightningModule) -> None:
        if self._started_at is not None:
            synchronize(pl_module.device)
            self.train_seconds += time.perf_counter() - self._started_at
            self._started_at = None


def synchronize(device: torch.device) -> None:
    """Wait until all queued work of a device is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
