"""Save a checkpoint of the best epoch."""

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from torch import Tensor

from dive.tasks.metric_mode import metric_mode


class BestCheckpoint(callbacks.ModelCheckpoint):
    """Save the best epoch so far as ``checkpoints/best.ckpt`` in the run directory; ties keep the earlier epoch.

    Args:
        monitor: the metric that decides which epoch is best.
        mode: whether lower (``"min"``) or higher (``"max"``) is better; ``"auto"`` infers it from the name.
    """

    on_train_batch_end = None  # checkpoints are saved at the end of epochs only: skip the hook after each batch

    def __init__(self, monitor: str, mode: Literal["min", "max", "auto"] = "auto") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=metric_mode(monitor, mode),
            enable_version_counter=False,
            # At that time all metrics of the epoch are logged and TerminateOnNonFinite has checked them.
            save_on_train_epoch_end=True,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set the checkpoint directory inside the run directory."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def _monitor_candidates(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        # Lightning's method without its deep copy of each metric, which is not needed and slows short epochs.
        counts = {"epoch": torch.tensor(trainer.current_epoch), "step": torch.tensor(trainer.global_step)}
        return {**trainer.callback_metrics, **counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state; `dive.runs.checkpoint_io` has moved its paths to the current run directory."""
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]
