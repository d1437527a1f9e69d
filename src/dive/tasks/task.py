"""LightningModules for regression and classification with any model (book 3.2, 4.3)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer

from dive.lazy.private_api import CURRENT_HOOK, may_reuse_outputs
from dive.tasks.epoch_logging import log_epoch_metrics
from dive.tasks.losses import l2_penalty
from dive.tasks.mean_metrics import MeanMetrics
from dive.tasks.optim import split_weight_decay_params
from dive.tasks.schedule import MakeScheduler, Schedule, TrainingLength, configure_scheduler

Batch = tuple[Tensor, Tensor]


class Task(pl.LightningModule, ABC):
    """A model with its loss and optimizer; subclasses implement `compute_metrics` and `validate_shapes`.

    Metrics are means over the examples of an epoch, logged once per epoch as ``train/loss``, ``val/loss``,
    ``test/loss`` and likewise for each name that `compute_metrics` returns: logging at each step would cost more
    than the step.

    Args:
        model: maps ``inputs: (batch, ...)`` to ``outputs: (batch, num_outputs)``.
        loss: maps outputs and targets to a scalar, the mean over the batch.
        optimizer: creates the optimizer from parameter groups. Its `weight_decay` excludes the biases (book 3.7).
        scheduler: creates the scheduler, stepped once per epoch, from the optimizer; or a `Schedule`.
        weight_decay: lambda of the penalty ``lambda * sum(w**2) / 2`` in the training loss, excluding biases: the
            from-scratch form of the optimizer's weight decay. It is not part of the logged loss.

    Attributes:
        metrics: names of the logged metrics: ``loss`` and those that `compute_metrics` returns.
        extra_metrics: metrics that callbacks add at the end of a training epoch, to be logged with its means.
        targets: what the data must provide as targets, ``"numbers"`` or ``"classes"``.
    """

    metrics: tuple[str, ...] = ("loss",)
    targets: str

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Callable[[Any], Optimizer],
        scheduler: MakeScheduler | Schedule | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.weight_decay = weight_decay
        self.training_length: TrainingLength | None = None  # for a `Schedule`; None: that of the trainer
        self.extra_metrics: dict[str, float] = {}
        self.means = {stage: MeanMetrics(self.compute_metrics) for stage in ("train", "val", "test")}

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets the name of the current hook about forty times per step, and nn.Module checks each value
        # for parameters first: for small models this would take a tenth of the step.
        if name == CURRENT_HOOK:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def compute_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute further metrics by name, one value per example, ``(batch,)``, from detached outputs."""

    @abstractmethod
    def validate_shapes(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise ValueError if the shapes do not match."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Run the model: ``inputs: (batch, ...)`` to ``(batch, num_outputs)``."""
        return self.model(inputs)

    def _step(self, batch: Batch, stage: str) -> Tensor:
        model, (inputs, targets) = self.model, batch
        outputs = model(inputs)
        self.validate_shapes(outputs, targets)
        loss = self.loss(outputs, targets)
        detached = outputs.detach().clone() if may_reuse_outputs(model) else outputs.detach()
        self.means[stage].update(loss.detach(), detached, targets)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the loss to minimize, including the weight penalty."""
        loss = self._step(batch, "train")
        if self.weight_decay:
            loss = loss + self.weight_decay * l2_penalty(split_weight_decay_params(self.model.parameters())[0])
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a batch."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a batch."""
        self._step(batch, "test")

    def _log_means(self, stage: str) -> None:
        distributed = self.trainer.world_size > 1
        reduce = partial(self.trainer.strategy.reduce, reduce_op="sum") if distributed else None
        means = {f"{stage}/{name}": value for name, value in self.means[stage].compute(reduce).items()}
        log_epoch_metrics(self, {**means, **self.extra_metrics})
        self.extra_metrics.clear()

    def on_fit_start(self) -> None:
        """Discard the state of an aborted fit."""
        for means in self.means.values():
            means.reset()
        self.extra_metrics.clear()

    def on_train_epoch_end(self) -> None:
        """Log the training metrics of the epoch."""
        self._log_means("train")

    def on_validation_model_zero_grad(self) -> None:
        """Keep the gradients of the last step, which callbacks log at the end of the epoch."""
        if may_reuse_outputs(self.model):  # with CUDA graphs, validation also overwrites the gradients
            for parameter in self.parameters():
                parameter.grad = None if parameter.grad is None else parameter.grad.clone()

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics of the epoch."""
        self._log_means("val")

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self._log_means("test")

    def configure_optimizers(self) -> dict[str, Any]:
        """Create the optimizer, with the biases in a group without weight decay, and the scheduler, if any."""
        weights, biases = split_weight_decay_params(self.model.parameters())
        optimizer = self.make_optimizer([{"params": weights}, {"params": biases, "weight_decay": 0.0}])
        return {"optimizer": optimizer, **configure_scheduler(self, optimizer)}


class RegressionTask(Task):
    """Predict numbers. Logs the mean squared error, ``mse``, with any loss (book 3.4, 3.5)."""

    metrics = ("loss", "mse")
    targets = "numbers"

    def validate_shapes(self, outputs: Tensor, targets: Tensor) -> None:
        """Require ``(batch, num_outputs)`` of both: ``(n, 1) - (n,)`` would broadcast silently."""
        if outputs.ndim != 2 or outputs.shape != targets.shape:
            shapes = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
            raise ValueError(f"outputs and targets must both be (batch, num_outputs), got {shapes}")

    def compute_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Squared errors, averaged over the outputs of an example."""
        return {"mse": (outputs - targets).square().mean(1)}


class ClassificationTask(Task):
    """Predict one of several classes. Logs the accuracy, ``acc`` (book 4.3.3).

    Outputs are logits or probabilities, whichever the loss takes; the accuracy is the same.
    """

    metrics = ("loss", "acc")
    targets = "classes"

    def validate_shapes(self, outputs: Tensor, targets: Tensor) -> None:
        """Require outputs ``(batch, num_classes)`` and targets ``(batch,)``."""
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
            shapes = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
            raise ValueError(f"outputs must be (batch, num_classes) and targets (batch,), got {shapes}")

    def compute_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Whether each example is classified correctly."""
        return {"acc": outputs.argmax(1) == targets}
