"""How weights and gradients are spread."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from dive.callbacks.showing import Showing

BINS = 64


class Histograms(Showing):
    """Histograms of each parameter and of its gradient in the last step: ``weights/...`` and ``gradients/...``.

    Args:
        every_n_epochs: see `dive.callbacks.showing.Showing`.
    """

    def show(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """All parameters of the model."""
        for name, parameter in task.model.named_parameters():
            add(writer, f"weights/{name}", parameter.detach(), step)
            if parameter.grad is not None:
                add(writer, f"gradients/{name}", parameter.grad, step)


def add(writer: Any, name: str, values: Tensor, step: int) -> None:
    """Hand over a histogram of those values that are finite, if there are any.

    Args:
        writer: a `torch.utils.tensorboard.SummaryWriter`.
        name: of the histogram.
        values: of any shape.
        step: the last one that was taken.
    """
    finite = values[values.isfinite()]
    if len(finite):
        # TensorBoard's own bins end at 1e20, and with all values beyond them it raises.
        writer.add_histogram(name, finite, step, bins=BINS)
