"""What the first layer looks for in an image."""

from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn

from dive.callbacks.tensorboard_base import TensorBoardCallback


class FirstLayerWeights(TensorBoardCallback):
    """The weights of the first layer as images, one a unit, where it takes all pixels of an image.

    Args:
        every_n_epochs: see `dive.callbacks.tensorboard_base.TensorBoardCallback`.
    """

    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Draw them, each with its class where the first layer is also the last."""
        from dive.visualization import plots  # slow to import: matplotlib

        data = trainer.datamodule
        shape = data.splits.val.inputs.shape[1:]
        weights = first_layer_weights(task.model, data.num_inputs)
        if len(shape) != 3 or weights is None:
            return
        images = weights.detach().reshape(-1, *shape).mean(1)
        names = data.class_names if len(images) == data.num_outputs else None
        drawn = plots.plot_weights(images, names)
        writer.add_image("first layer", plots.figure_to_array(drawn), step, dataformats="HWC")


def first_layer_weights(model: nn.Module, num_inputs: int) -> Tensor | None:
    """The weights of the first layer that takes all inputs, ``(num_units, num_inputs)``; None where there is none.

    >>> first_layer_weights(nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 6)), 6).shape
    torch.Size([3, 6])
    """
    for module in model.modules():
        for weights in module.parameters(recurse=False):
            if weights.ndim == 2 and num_inputs in weights.shape:
                a_row_a_unit = isinstance(module, nn.Linear) or weights.shape[0] != num_inputs
                return weights if a_row_a_unit else weights.T
    return None
