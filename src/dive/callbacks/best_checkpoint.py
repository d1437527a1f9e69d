"""Keep the best epoch, and stop when there are no better ones."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from torch import Tensor

from dive.tasks.metric_mode import metric_mode

STATE_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class BestCheckpoint(callbacks.ModelCheckpoint):
    """Keep the best epoch so far as ``checkpoints/best.ckpt`` in the run's directory.

    Args:
        monitor: the metric that names the best epoch; its name tells whether it should fall or rise.
    """

    on_train_batch_end = None  # it saves at the end of epochs only: no need to look after each batch

    def __init__(self, monitor: str) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=metric_mode(monitor),
            enable_version_counter=False,
            # At the end of the training epoch all its metrics are known, and the NaN guard has spoken.
            save_on_train_epoch_end=True,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Point into the run's directory."""
        self.dirpath = str(Path(trainer.default_root_dir) / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def _monitor_candidates(self, trainer: pl.Trainer) -> dict[str, Tensor]:
        # As Lightning does, but for its deep copy of each metric: nobody changes them, and small epochs are short.
        counts = {"epoch": torch.tensor(trainer.current_epoch), "step": torch.tensor(trainer.global_step)}
        return {**trainer.callback_metrics, **counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on, also where the run's directory has been moved since."""

        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else ""

        paths = {name: here(state_dict[name]) for name in STATE_PATHS}
        kept = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "dirpath": self.dirpath, "best_k_models": kept})
        self.current_score = state_dict["current_score"]


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
            mode=metric_mode(monitor),
            patience=patience,
            min_delta=min_delta,
            check_on_train_epoch_end=True,
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stay with it, where training that goes on had been stopped before."""
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0
