"""Keep the best epoch, and stop when there are no better ones."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks

from dive.metrics import direction


class Checkpoint(callbacks.ModelCheckpoint):
    """Keep the best epoch and the last, as ``checkpoints/best.ckpt`` and ``checkpoints/last.ckpt`` of the run.

    Args:
        monitor: the metric that names the best epoch; its name tells whether it should fall or rise.
        **settings: those of `pytorch_lightning.callbacks.ModelCheckpoint`.
    """

    def __init__(self, monitor: str, **settings: Any) -> None:
        super().__init__(
            monitor=monitor,
            mode=direction(monitor),
            filename="best",
            save_last=True,
            enable_version_counter=False,
            # At the end of the training epoch all its metrics are known, and the NaN guard has spoken.
            save_on_train_epoch_end=True,
            **settings,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Point into the run's directory."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)


class EarlyStopping(callbacks.EarlyStopping):
    """Stop when a metric has not got better for some epochs.

    Args:
        monitor: the metric; its name tells whether it should fall or rise.
        patience: epochs to wait for a better one.
        min_delta: how much better counts as better.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float = 0.0) -> None:
        super().__init__(
            monitor=monitor,
            mode=direction(monitor),
            patience=patience,
            min_delta=min_delta,
            check_on_train_epoch_end=True,
        )
