"""How weights and gradients are spread."""

from typing import Any

import pytorch_lightning as pl

from dive.callbacks.showing import Showing


class Histograms(Showing):
    """Histograms of each parameter and of its gradient in the last step: ``weights/...`` and ``gradients/...``.

    Args:
        every_n_epochs: see `dive.callbacks.showing.Showing`.
    """

    def show(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """All parameters of the model."""
        for name, parameter in task.model.named_parameters():
            writer.add_histogram(f"weights/{name}", parameter.detach(), step)
            if parameter.grad is not None:
                writer.add_histogram(f"gradients/{name}", parameter.grad, step)
