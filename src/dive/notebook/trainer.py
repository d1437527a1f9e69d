"""A minimal, readable trainer (book 3.2.4, 3.4.4): the reference for Lightning's results."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dive.data.datamodule import InMemoryDataModule
from dive.notebook.progress_board import ProgressBoard
from dive.tasks.lazy_layers import initialize_lazy_layers
from dive.tasks.schedule import TrainingLength
from dive.tasks.task import Task


class Trainer:
    """Fits a task to data on the CPU in a plain loop; its weights equal Lightning's after each step.

    Args:
        max_epochs: number of epochs.
        gradient_clip_val: maximum norm of all gradients together; None turns clipping off.
        board: plots the metrics.

    Attributes:
        history: the metrics of each epoch, by name.

    Raises:
        ValueError: `max_epochs` or `gradient_clip_val` is out of range.
    """

    def __init__(
        self, max_epochs: int, gradient_clip_val: float | None = None, board: ProgressBoard | None = None
    ) -> None:
        if not isinstance(max_epochs, int) or max_epochs < 1:
            raise ValueError(f"max_epochs must be an integer of at least 1, got {max_epochs!r}")
        if gradient_clip_val is not None and not gradient_clip_val > 0:
            raise ValueError(f"gradient_clip_val must be above 0, got {gradient_clip_val}")
        self.max_epochs = max_epochs
        self.gradient_clip_val = gradient_clip_val
        self.board = board
        self.epoch = 0
        self.history: list[dict[str, float]] = []

    def prepare_data(self, data: InMemoryDataModule) -> None:
        """Load the data and create the data loaders."""
        data.prepare_data()
        data.setup("fit")
        self.train_dataloader: Any = data.train_dataloader()
        self.val_dataloader: Any = data.val_dataloader()

    def prepare_model(self, task: Task) -> None:
        """Create the optimizer and the optional scheduler of the task."""
        self.task = task
        initialize_lazy_layers(task.model, lambda: next(iter(self.train_dataloader))[0])
        batches = len(self.train_dataloader)
        task.training_length = TrainingLength(self.max_epochs, self.max_epochs * batches)
        configured = task.configure_optimizers()
        self.optimizer = configured["optimizer"]
        self.schedule = configured.get("lr_scheduler", {})

    def fit(self, task: Task, data: InMemoryDataModule) -> None:
        """Train the model of a task for `max_epochs` from its current weights; resets `history`."""
        self.prepare_data(data)
        self.prepare_model(task)
        self.history = []
        for epoch in range(self.max_epochs):
            self.epoch = epoch
            self.fit_epoch()
        if self.board is not None:
            self.board.show()

    def fit_epoch(self) -> None:
        """Train for one epoch, then compute the metrics on the validation split."""
        self.task.train()
        self.train_dataloader.batch_sampler.set_epoch(self.epoch)
        for batch_idx, batch in enumerate(self.train_dataloader):
            loss = self.task.training_step(batch, batch_idx)
            self.optimizer.zero_grad()
            loss.backward()
            if self.gradient_clip_val is not None:
                clip_gradients(self.task.parameters(), self.gradient_clip_val)
            self.optimizer.step()
            self._step_scheduler("step")
        self._step_scheduler("epoch")

        self.task.eval()
        with torch.no_grad():
            for batch_idx, batch in enumerate(self.val_dataloader):
                self.task.validation_step(batch, batch_idx)
        self._log_metrics()
        if "monitor" in self.schedule:
            self.schedule["scheduler"].step(self.history[-1][self.schedule["monitor"]])

    def _step_scheduler(self, interval: str) -> None:
        if self.schedule.get("interval") == interval and "monitor" not in self.schedule:
            self.schedule["scheduler"].step()

    def _log_metrics(self) -> None:
        means = {stage: self.task.means[stage].compute() for stage in ("train", "val")}
        metrics = {f"{stage}/{name}": float(value) for stage in means for name, value in means[stage].items()}
        self.history.append(metrics)
        if self.board is not None:
            for name, value in metrics.items():
                self.board.draw(self.epoch + 1, value, name)


@torch.no_grad()
def clip_gradients(params: Iterable[nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients if their total norm exceeds a maximum: ``g <- min(1, max_norm / |g|) g`` (book 9.5.3).

    `torch.nn.utils.clip_grad_norm_` adds 1e-6 to the norm, so that its gradients are slightly smaller.

    Args:
        params: parameters of any shape; those without a gradient are skipped.
        max_norm: the maximum norm.

    Returns:
        The norm before clipping, a scalar.

    >>> w = nn.Parameter(torch.zeros(2))
    >>> w.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients([w], 1.0), w.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    gradients = [param.grad for param in params if param.grad is not None]
    norm = torch.sqrt(torch.stack([(gradient**2).sum() for gradient in gradients]).sum())
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / norm
    return norm
