"""The weights of the first layer as images."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from dive.callbacks.tensorboard_base import TensorBoardCallback, add_figure


class FirstLayerWeights(TensorBoardCallback):
    """Log the weights of the first layer, one image per unit, if it takes all pixels of an image as inputs."""

    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Log the images, titled with class names if the first layer is also the last."""
        from dive.visualization.plots import plot_weights  # slow to import: matplotlib

        data = trainer.datamodule
        shape = data.splits.val.inputs.shape[1:]
        weights = first_layer_weights(task.model, data.num_inputs)
        if len(shape) == 3 and weights is not None:
            images = weights.detach().reshape(-1, *shape).mean(1)
            names = data.class_names if len(images) == data.num_outputs else None
            add_figure(writer, "first layer", plot_weights(images, names), step)


def first_layer_weights(model: nn.Module, num_inputs: int) -> Tensor | None:
    """The weights of the first layer that takes all inputs, ``(num_units, num_inputs)``; None if there is none.

    >>> first_layer_weights(nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6)), 6).shape
    torch.Size([3, 6])
    """
    for module in model.modules():
        for weights in module.parameters(recurse=False):
            if weights.ndim == 2 and num_inputs in weights.shape:
                units_are_rows = isinstance(module, nn.Linear) or weights.shape[0] != num_inputs
                return weights if units_are_rows else weights.T
    return None
