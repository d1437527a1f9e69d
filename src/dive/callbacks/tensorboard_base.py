"""What callbacks share that show something in TensorBoard."""

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
    """Show how training stands, after each so many epochs and when it ends. What is shown, subclasses say.

    Without a TensorBoard nothing is computed. Training goes on as if nobody had looked: `show` may run the model,
    and random numbers that this takes are given back.

    Args:
        every_n_epochs: None shows the end of training alone.
    """

    def __init__(self, every_n_epochs: int | None = None) -> None:
        self.every_n_epochs = every_n_epochs
        self._shown_at = -1

    @abstractmethod
    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Hand something over to TensorBoard.

        Args:
            writer: a `torch.utils.tensorboard.SummaryWriter`.
            trainer: that trains.
            task: that is trained.
            step: the last one that was taken, counted from 0, as for the epoch's metrics.
        """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget an earlier fit."""
        self._shown_at = -1

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show this epoch, where it is one of those."""
        if self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the last epoch, unless that is done."""
        if self._shown_at != trainer.global_step:
            self._show(trainer, pl_module)

    def _show(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._shown_at = trainer.global_step
        # Half an import of matplotlib could not be followed by a whole one.
        with shield_from_interrupt(), summary_writers(trainer) as writing, torch.random.fork_rng(devices=[]):
            for writer in writing:
                self.log_figures(writer, trainer, task, trainer.global_step - 1)


@contextmanager
def summary_writers(trainer: pl.Trainer) -> Iterator[list[Any]]:
    """What writes a run's events, one for each TensorBoard: none in processes of other ranks.

    Raises:
        OSError: events cannot be written; it names the folder.
    """
    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    with ExitStack() as writing:
        yield [writing.enter_context(board.writing()) for board in boards if rank_zero_only.rank == 0]
