"""How large weights and gradients are."""

import math
from collections.abc import Iterable

import pytorch_lightning as pl
import torch
from torch import Tensor


class GradNormMonitor(pl.Callback):
    """Log each epoch the norm of all weights, and that of all gradients: ``norm/weights`` and ``norm/gradients``.

    Gradients are those of the epoch's last step. They are as the optimizer took them:
    clipped, where they are clipped.
    """

    def __init__(self) -> None:
        self._parameters: list[torch.nn.Parameter] = []
        self._gradients: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Know whose gradients checkpoints are to tell of."""
        self._parameters = list(pl_module.parameters())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Have them logged."""
        self._gradients = self._of_gradients()
        norms = {"norm/weights": total_norm(self._parameters).item(), "norm/gradients": self._gradients}
        # Weights may be finite, and the sum of their squares not: no result can hold that.
        pl_module.extra_metrics |= {
            name: value for name, value in norms.items() if value is not None and math.isfinite(value)
        }

    def state_dict(self) -> dict[str, float | None]:
        """The norm of the gradients: these are not saved, and an epoch may be through but for its validation."""
        return {"gradients": self._of_gradients()}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Go on with that, until there are gradients."""
        self._gradients = state_dict["gradients"]

    def _of_gradients(self) -> float | None:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        return total_norm(gradients).item() if gradients else self._gradients


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of all numbers of some tensors of any shapes: a scalar.

    >>> total_norm([torch.tensor([3.0]), torch.tensor([[4.0], [12.0]])])
    tensor(13.)
    """
    each = torch._foreach_norm([tensor.detach() for tensor in tensors])
    return torch.stack([one.float() for one in each]).norm()
