"""Norms of weights and gradients."""

import math

import pytorch_lightning as pl
import torch

from dive.lazy.private_api import total_norm


class GradNormMonitor(pl.Callback):
    """Log the norm of all weights and of all gradients once per epoch: ``norm/weights`` and ``norm/gradients``.

    The gradients are those of the last step of the epoch, as the optimizer used them: after clipping, if any.
    """

    def __init__(self) -> None:
        self._parameters: list[torch.nn.Parameter] = []
        self._grad_norm: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Collect the parameters, for `state_dict`."""
        self._parameters = list(pl_module.parameters())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log both norms."""
        self._grad_norm = self._compute_grad_norm()
        norms = {"norm/weights": total_norm(self._parameters).item(), "norm/gradients": self._grad_norm}
        # The sum of the squares of finite weights may overflow; infinity cannot be stored in a result.
        pl_module.extra_metrics |= {
            name: value for name, value in norms.items() if value is not None and math.isfinite(value)
        }

    def state_dict(self) -> dict[str, float | None]:
        """The gradient norm: checkpoints hold no gradients, and a resumed epoch may only have validation left."""
        return {"gradients": self._compute_grad_norm()}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Restore the gradient norm, which is logged unless another step is taken."""
        self._grad_norm = state_dict["gradients"]

    def _compute_grad_norm(self) -> float | None:
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        return total_norm(gradients).item() if gradients else self._grad_norm
