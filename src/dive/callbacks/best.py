"""Keep the best epoch and the last, and stop when there are no better ones."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning import callbacks

from dive.direction import direction


class Checkpoint(callbacks.ModelCheckpoint):
    """Keep one epoch as ``checkpoints/FILENAME.ckpt`` in the run's directory: the best so far, or the last.

    The last is a callback of its own, since Lightning's `save_last` leaves out epochs that are not the best. It
    comes after the best, so that it holds the best one's state.

    Args:
        filename: of the checkpoint, without the ending.
        monitor: the metric that names the best epoch; its name tells whether it should fall or rise. None keeps
            the last.
    """

    def __init__(self, filename: str, monitor: str | None = None) -> None:
        super().__init__(
            filename=filename,
            monitor=monitor,
            mode=direction(monitor) if monitor else "min",
            enable_version_counter=False,
            # At the end of the training epoch all its metrics are known, and the NaN guard has spoken.
            save_on_train_epoch_end=True,
        )

    on_train_batch_end = None  # it saves at the end of epochs only: no need to look after each batch

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
