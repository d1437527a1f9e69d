"""Histograms of weights and gradients."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from dive.callbacks.tensorboard_base import TensorBoardCallback

BINS = 64


class Histograms(TensorBoardCallback):
    """Log histograms of each parameter and its gradient in the last step: ``weights/...``, ``gradients/...``."""

    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Log all parameters of the model."""
        for name, parameter in task.model.named_parameters():
            add_histogram(writer, f"weights/{name}", parameter.detach(), step)
            if parameter.grad is not None:
                add_histogram(writer, f"gradients/{name}", parameter.grad, step)


def add_histogram(writer: Any, tag: str, values: Tensor, step: int) -> None:
    """Write a histogram of the finite values, of any shape, if there are any."""
    finite = values[values.isfinite()].double().cpu()
    if len(finite):
        writer.add_histogram(tag, finite, step, bins=bin_edges(finite).numpy())


def bin_edges(values: Tensor) -> Tensor:
    """Edges of `BINS` bins of equal width over the range of the values, ``(BINS + 1,)``.

    Equal values get bins around them. TensorBoard's default bins end at 1e20, and numpy's edges coincide around
    large values that are all equal.

    Args:
        values: float64, finite, of any shape.

    >>> bin_edges(torch.full((3,), 1e30, dtype=torch.float64)).unique().shape
    torch.Size([65])
    """
    low, high = values.min().item(), values.max().item()
    largest = max(abs(low), abs(high))
    margin = 0.0 if high - low > 1e-9 * largest else max(0.5, 1e-3 * largest)
    return torch.linspace(low - margin, high + margin, BINS + 1, dtype=torch.float64)
