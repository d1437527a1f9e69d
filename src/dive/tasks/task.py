"""The LightningModules: what is trained for, around any of the models (book 3.2, 4.3)."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dive.tasks.epoch_logging import log_epoch_metrics
from dive.tasks.losses import l2_penalty
from dive.tasks.metrics import MeanMetrics
from dive.tasks.optim import split_weight_decay_params

Batch = tuple[Tensor, Tensor]


class Task(pl.LightningModule, ABC):
    """A model, its loss and its optimizer. What a step measures is all that subclasses add.

    Metrics are means over an epoch's examples, logged once an epoch as ``train/loss``, ``val/loss``, ``test/loss``
    and the same for each name that `measure` returns: logging at each step would cost more than the step.

    Args:
        model: maps ``inputs: (batch, ...)`` to ``outputs: (batch, num_outputs)``.
        loss: maps outputs and targets to a scalar, the mean over the batch.
        optimizer: makes the optimizer from parameter groups. Its `weight_decay` spares the biases (book 3.7).
        scheduler: makes the learning-rate scheduler, stepped once an epoch, from the optimizer.
        weight_decay: lambda of the penalty ``lambda * sum(w**2) / 2`` in the training loss, biases spared: the
            from-scratch form of the optimizer's weight decay. It is not part of the logged loss.

    Attributes:
        metrics: the names of what is logged: ``loss``, and those that `measure` returns.
        noted: what callbacks have to say of the training epoch, when it ends: logged together with its means.
        targets: what the data must have to predict, ``"numbers"`` or ``"classes"``.
    """

    metrics: tuple[str, ...] = ("loss",)
    targets: str

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Tensor, Tensor], Tensor],
        optimizer: Callable[[Any], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.weight_decay = weight_decay
        self.extra_metrics: dict[str, float] = {}
        self.means = {stage: MeanMetrics(self.compute_metrics) for stage in ("train", "val", "test")}

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes here which hook it is in, some forty times a step, and a module looks at each value for
        # parameters first: on small models that is a tenth of the whole step.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def compute_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """What is measured beside the loss, by name: a value an example, ``(batch,)``, from detached outputs."""

    @abstractmethod
    def validate_shapes(self, outputs: Tensor, targets: Tensor) -> None:
        """Raise ValueError where shapes do not go together."""

    def forward(self, inputs: Tensor) -> Tensor:
        """What the model says: ``inputs: (batch, ...)`` to ``(batch, num_outputs)``."""
        return self.model(inputs)

    def _step(self, batch: Batch, stage: str) -> Tensor:
        model, (inputs, targets) = self.model, batch
        outputs = model(inputs)
        self.validate_shapes(outputs, targets)
        loss = self.loss(outputs, targets)
        kept = outputs.detach()
        if model._compiled_call_impl is not None:  # CUDA graphs put the next outputs into the same memory
            kept = kept.clone()
        self.means[stage].update(loss.detach(), kept, targets)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss to descend, penalty included."""
        loss = self._step(batch, "train")
        if self.weight_decay:
            loss = loss + self.weight_decay * l2_penalty(split_weight_decay_params(self.model.parameters())[0])
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure one batch."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure one batch."""
        self._step(batch, "test")

    def _log_means(self, stage: str) -> None:
        several = self.trainer.world_size > 1
        reduce = partial(self.trainer.strategy.reduce, reduce_op="sum") if several else None
        means = self.means[stage].compute(reduce)
        log_epoch_metrics(
            self, {**{f"{stage}/{name}": value for name, value in means.items()}, **self.extra_metrics}
        )
        self.extra_metrics.clear()

    def on_fit_start(self) -> None:
        """Forget what a fit that was broken off has left."""
        for means in self.means.values():
            means.reset()
        self.extra_metrics.clear()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training means."""
        self._log_means("train")

    def on_validation_model_zero_grad(self) -> None:
        """Keep the last step's gradients, for callbacks to look at when the epoch has ended."""

    def on_validation_epoch_end(self) -> None:
        """Log the epoch's validation means."""
        self._log_means("val")

    def on_test_epoch_end(self) -> None:
        """Log the test means."""
        self._log_means("test")

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimizer over weights and biases, and its scheduler where there is one."""
        weights, biases = split_weight_decay_params(self.model.parameters())
        optimizer = self.make_optimizer([{"params": weights}, {"params": biases, "weight_decay": 0.0}])
        if self.make_scheduler is None:
            return {"optimizer": optimizer}
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer)}


class RegressionTask(Task):
    """Predict numbers. Measures the mean squared error, ``mse``, whatever the loss (book 3.4, 3.5)."""

    metrics = ("loss", "mse")
    targets = "numbers"

    def validate_shapes(self, outputs: Tensor, targets: Tensor) -> None:
        """Both are ``(batch, num_outputs)``; else ``(n, 1) - (n,)`` would broadcast silently."""
        if outputs.ndim != 2 or outputs.shape != targets.shape:
            shapes = f"{tuple(outputs.shape)} and {tuple(targets.shape)}"
            raise ValueError(f"outputs and targets must both be (batch, num_outputs), got {shapes}")

    def compute_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Squared errors, averaged over the outputs of an example."""
        return {"mse": (outputs - targets).square().mean(1)}


class ClassificationTask(Task):
    """Predict one of several classes. Measures the accuracy, ``acc`` (book 4.3.3).

    Outputs are logits or probabilities, as the loss wants them; the accuracy is the same.
    """

    metrics = ("loss", "acc")
    targets = "classes"

    def validate_shapes(self, outputs: Tensor, targets: Tensor) -> None:
        """Outputs are ``(batch, num_classes)``, targets ``(batch,)``."""
        if outputs.ndim != 2 or targets.shape != outputs.shape[:1]:
            raise ValueError(
                "outputs must be (batch, num_classes) and targets (batch,), "
                f"got {tuple(outputs.shape)} and {tuple(targets.shape)}"
            )

    def compute_metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Which examples are right."""
        return {"acc": outputs.argmax(1) == targets}
