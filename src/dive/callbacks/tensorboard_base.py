"""Base class of callbacks that log to TensorBoard."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only

from dive.loggers import TensorBoardLogger
from dive.runs.signals import shield_from_interrupt


class TensorBoardCallback(pl.Callback, ABC):
    """Log figures every `every_n_epochs` epochs and at the end of training; subclasses implement `log_figures`.

    Without a TensorBoard logger nothing is computed. Training is not affected: `log_figures` may run the model,
    and the random state is restored afterwards.

    Args:
        every_n_epochs: None logs at the end of training only.
    """

    def __init__(self, every_n_epochs: int | None = None) -> None:
        self.every_n_epochs = every_n_epochs
        self._logged_at = -1

    @abstractmethod
    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Log to TensorBoard.

        Args:
            writer: a `torch.utils.tensorboard.SummaryWriter`.
            trainer: the trainer.
            task: the module being trained.
            step: the last step taken, counted from 0, as for the metrics of the epoch.
        """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discard the state of an earlier fit."""
        self._logged_at = -1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log every `every_n_epochs` epochs."""
        if self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._log(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the last epoch, unless it has been logged."""
        if self._logged_at != trainer.global_step:
            self._log(trainer, pl_module)

    def _log(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._logged_at = trainer.global_step
        # An interrupted import of matplotlib would leave it half imported, and a second import would fail.
        with shield_from_interrupt(), summary_writers(trainer) as writers, torch.random.fork_rng(devices=[]):
            for writer in writers:
                self.log_figures(writer, trainer, task, trainer.global_step - 1)


@contextmanager
def summary_writers(trainer: pl.Trainer) -> Iterator[list[Any]]:
    """The `SummaryWriter` of each TensorBoard logger; an empty list on ranks other than 0.

    Raises:
        OSError: events cannot be written; the error names the folder.
    """
    loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    with ExitStack() as stack:
        yield [stack.enter_context(logger.summary_writer()) for logger in loggers if rank_zero_only.rank == 0]


def add_figure(writer: Any, tag: str, figure: Any, step: int) -> None:
    """Write a matplotlib figure as an image, without pyplot, which `SummaryWriter.add_figure` imports."""
    from dive.visualization.plots import figure_to_array  # slow to import: matplotlib

    writer.add_image(tag, figure_to_array(figure), step, dataformats="HWC")
