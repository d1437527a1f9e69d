"""Keep the best epoch, and stop when there are no better ones."""

from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks
from torch import Tensor

from dive.tasks.metric_mode import metric_mode

STATE_PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


class BestCheckpoint(callbacks.ModelCheckpoint):
    """Keep the best epoch so far as ``checkpoints/best.ckpt`` in the run's directory.

    Args:
        monitor: the metric that decides which epoch is best.
        mode: whether lower (``"min"``) or higher (``"max"``) is better; ``"auto"`` infers it from the name.
    """

    on_train_batch_end = None  # it saves at the end of epochs only: no need to look after each batch

    def __init__(self, monitor: str, mode: Literal["min", "max", "auto"] = "auto") -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=metric_mode(monitor, mode),
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
