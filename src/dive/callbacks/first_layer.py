"""What the first layer looks for in an image."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from dive.callbacks.showing import Showing


class FirstLayer(Showing):
    """The weights of the first layer as images, one a unit, where it takes all pixels of an image.

    Args:
        every_n_epochs: see `dive.callbacks.showing.Showing`.
    """

    def show(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Draw them, each with its class where the first layer is also the last."""
        from dive import pictures  # slow to import: matplotlib

        data = trainer.datamodule
        shape = data.splits.val.inputs.shape[1:]
        weights = pixel_weights(task.model, data.num_inputs)
        if len(shape) != 3 or weights is None:
            return
        images = weights.detach().reshape(-1, *shape).mean(1)
        names = data.class_names if len(images) == data.num_outputs else None
        drawn = pictures.weight_images(images, names)
        writer.add_image("first layer", pictures.pixels(drawn), step, dataformats="HWC")


def pixel_weights(model: nn.Module, num_inputs: int) -> Tensor | None:
    """The weights of the first layer that takes all inputs, ``(num_units, num_inputs)``; None where there is none.

    >>> pixel_weights(nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6)), 6).shape
    torch.Size([3, 6])
    """
    for module in model.modules():
        for weights in module.parameters(recurse=False):
            if weights.ndim == 2 and num_inputs in weights.shape:
                a_row_a_unit = isinstance(module, nn.Linear) or weights.shape[0] != num_inputs
                return weights if a_row_a_unit else weights.T
    return None
