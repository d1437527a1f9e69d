"""Errors of the estimated coefficients, if the true ones are known (book 3.4.4)."""

import pytorch_lightning as pl
from torch import Tensor

from dive.data.synthetic import SyntheticRegression, least_squares


class ParameterError(pl.Callback):
    """Log the largest absolute error in w and in b after training, and those of the closed-form solution.

    It does nothing unless the data were generated from known coefficients and the model has `coefficients()`. The
    closed form is fitted to the same training examples. Metrics: ``error/w``, ``error/b``,
    ``error/w_closed_form``, ``error/b_closed_form``.
    """

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compute and log the errors."""
        data, model = trainer.datamodule, pl_module.model
        if not isinstance(data, SyntheticRegression) or not hasattr(model, "coefficients"):
            return
        w, b = model.coefficients()
        closed_w, closed_b = least_squares(data.splits.train.inputs.cpu(), data.splits.train.targets.cpu())
        errors = {
            "error/w": largest_error(w.cpu(), data.w),
            "error/b": largest_error(b.cpu(), data.b),
            "error/w_closed_form": largest_error(closed_w, data.w),
            "error/b_closed_form": largest_error(closed_b, data.b),
        }
        for logger in trainer.loggers:
            logger.log_metrics(errors, step=trainer.global_step)


def largest_error(estimate: Tensor, truth: Tensor) -> float:
    """The largest absolute difference.

    Raises:
        ValueError: the shapes differ.
    """
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate and truth must have the same shape, got {estimate.shape} and {truth.shape}")
    return (estimate - truth).abs().max().item()
