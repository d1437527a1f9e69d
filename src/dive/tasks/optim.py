"""Minibatch stochastic gradient descent from scratch (book 3.1.1.4, 3.4.3)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer


@torch.no_grad()
def sgd_step(params: Iterable[Tensor], lr: float) -> None:
    """Update each parameter in place: ``p <- p - lr * dp`` (book equation 3.1.10).

    Args:
        params: tensors of any shape; those without a gradient are not changed.
        lr: the learning rate.

    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> (w**2).sum().backward()
    >>> sgd_step([w], lr=0.5)
    >>> w
    tensor([0., 0.], requires_grad=True)
    """
    for param in params:
        if param.grad is not None:
            param -= lr * param.grad


def split_weight_decay_params(params: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Split parameters into those that decay (matrices) and those that do not (vectors: biases, PReLU slopes).

    Raises:
        ValueError: some belong to lazy layers, see `dive.tasks.lazy_layers`.
    """
    params = list(params)
    if any(map(is_lazy, params)):
        raise ValueError("the model has lazy layers without parameters; run it on a batch first")
    return [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]


class SGD(Optimizer):
    """`sgd_step` as a `torch.optim.Optimizer`, for Lightning and learning-rate schedulers.

    Args:
        params: parameters or parameter groups.
        lr: the learning rate, above 0.

    Raises:
        ValueError: `lr` is not above 0.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float) -> None:
        if not lr > 0:
            raise ValueError(f"lr must be above 0, got {lr}")
        super().__init__(params, {"lr": lr})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step; `closure`, if given, first computes the gradients, and its loss is returned."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        for group in self.param_groups:
            sgd_step(group["params"], group["lr"])
        return loss
