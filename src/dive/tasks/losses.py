"""Loss functions from scratch: pure functions of predictions and targets (book 3.1, 3.4, 3.7, 4.4)."""

from collections.abc import Iterable

import torch
from torch import Tensor


def squared_loss(y_hat: Tensor, y: Tensor) -> Tensor:
    """Half the squared error, averaged over the batch: ``mean((y_hat - y)**2 / 2)`` (book 3.4.2).

    Half of `torch.nn.MSELoss`, so that its gradient is the residual.

    Args:
        y_hat: predictions, ``(batch, num_outputs)``.
        y: targets of the same shape.

    Raises:
        ValueError: the shapes differ; ``(n, 1) - (n,)`` would broadcast to ``(n, n)`` silently.

    >>> squared_loss(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [1.0]]))
    tensor(1.)
    """
    if y_hat.shape != y.shape:
        raise ValueError(f"y_hat and y must have the same shape, got {tuple(y_hat.shape)} and {tuple(y.shape)}")
    return ((y_hat - y) ** 2 / 2).mean()


def cross_entropy(probabilities: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of probabilities, averaged over the batch: ``mean(-log p[i, y[i]])`` (book 4.4.3).

    It takes probabilities, which the book's from-scratch model returns; `torch.nn.CrossEntropyLoss` takes logits.

    Args:
        probabilities: rows that sum to one, ``(batch, num_classes)``.
        y: class indices, ``(batch,)``, integers.

    Raises:
        ValueError: the shapes do not match.
        RuntimeError: a class index is out of range.

    >>> p = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]])
    >>> cross_entropy(p, torch.tensor([0, 2]))
    tensor(1.4979)
    """
    if probabilities.ndim != 2 or y.shape != probabilities.shape[:1]:
        raise ValueError(
            "probabilities must be (batch, num_classes) and y (batch,), "
            f"got {tuple(probabilities.shape)} and {tuple(y.shape)}"
        )
    return -torch.log(probabilities.gather(1, y.unsqueeze(1))).mean()


def l2_penalty(weights: Iterable[Tensor]) -> Tensor:
    """Half the sum of the squared weights, ``sum(w**2) / 2`` (book 3.7.2).

    Multiplied by lambda and added to the loss, it gives weight decay; its gradient is the weight itself.

    Args:
        weights: tensors of any shape, at least one.

    Raises:
        ValueError: `weights` is empty.

    >>> l2_penalty([torch.tensor([3.0, 4.0])])
    tensor(12.5000)
    """
    halves = [(w**2).sum() / 2 for w in weights]
    if not halves:
        raise ValueError("weights must contain at least one tensor")
    return torch.stack(halves).sum()
