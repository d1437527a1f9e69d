"""Scalars for TensorBoard."""

import os

from pytorch_lightning import loggers


class TensorBoard(loggers.TensorBoardLogger):
    """Event files in the run's ``tensorboard`` folder, with nothing of Lightning's beside them.

    Args:
        save_dir: the run's directory.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__(save_dir=save_dir, name="tensorboard", version="")

    def save(self) -> None:
        """Flush; the run's own config.yaml is the record of hyperparameters."""
        self.experiment.flush()
