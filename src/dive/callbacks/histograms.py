"""How weights and gradients are spread."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from dive.callbacks.tensorboard_base import TensorBoardCallback

BINS = 64


class Histograms(TensorBoardCallback):
    """Histograms of each parameter and of its gradient in the last step: ``weights/...`` and ``gradients/...``.

    Args:
        every_n_epochs: see `dive.callbacks.tensorboard_base.TensorBoardCallback`.
    """

    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """All parameters of the model."""
        for name, parameter in task.model.named_parameters():
            add_histogram(writer, f"weights/{name}", parameter.detach(), step)
            if parameter.grad is not None:
                add_histogram(writer, f"gradients/{name}", parameter.grad, step)


def add_histogram(writer: Any, name: str, values: Tensor, step: int) -> None:
    """Hand over a histogram of those values that are finite, if there are any.

    Args:
        writer: a `torch.utils.tensorboard.SummaryWriter`.
        name: of the histogram.
        values: of any shape.
        step: the last one that was taken.
    """
    finite = values[values.isfinite()].double().cpu()
    if len(finite):
        writer.add_histogram(name, finite, step, bins=bin_edges(finite).numpy())


def bin_edges(values: Tensor) -> Tensor:
    """Those of `BINS` bins of equal width over all values, ``(BINS + 1,)``; of values all the same, around them.

    TensorBoard's own bins end at 1e20. Those of numpy cannot be told from each other around large values that are
    all the same.

    Args:
        values: float64, finite, of any shape.

    >>> bin_edges(torch.full((3,), 1e30, dtype=torch.float64)).unique().shape
    torch.Size([65])
    """
    low, high = values.min().item(), values.max().item()
    largest = max(abs(low), abs(high))
    margin = 0.0 if high - low > 1e-9 * largest else max(0.5, 1e-3 * largest)
    return torch.linspace(low - margin, high + margin, BINS + 1, dtype=torch.float64)
