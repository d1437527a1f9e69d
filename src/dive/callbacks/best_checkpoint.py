"""Save a checkpoint of the best validation."""

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from torch import Tensor

from dive.callbacks.once_per_validation import OncePerValidation
from dive.tasks.metric_mode import metric_mode


class BestCheckpoint(OncePerValidation, callbacks.ModelCheckpoint):
    """Save the weights of the best validation as ``checkpoints/best.ckpt``; ties keep the earlier one.

    Args:
        monitor: the metric that decides which validation is best.
        mode: whether lower (``"min"``) or higher (``"max"``) is better; ``"auto"`` infers it from the name.
    """

    on_train_batch_end = None  # checkpoints are saved after validations only: skip the hook after each batch

    def __init__(self, monitor: str, mode: Literal["min", "max", "auto"] = "auto") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=metric_mode(monitor, mode),
            enable_version_counter=False,
            save_on_train_epoch_end=True,  # called by OncePerValidation
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
