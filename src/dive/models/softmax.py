"""Softmax regression, from scratch (book 4.4) and concise (book 4.5)."""

import torch
from torch import Tensor, nn

from dive.models.linear import linear


def softmax(X: Tensor) -> Tensor:
    """Convert rows of scores to probabilities: ``exp(x_j) / sum_k exp(x_k)`` (book equation 4.1.3).

    The maximum of each row is subtracted first: it cancels, and ``exp`` cannot overflow (book 4.5.2).

    Args:
        X: scores, ``(batch, num_classes)``.

    Returns:
        Probabilities of the same shape.

    >>> softmax(torch.tensor([[0.0, 0.0], [1000.0, 0.0]]))
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """
    X_exp = torch.exp(X - X.max(dim=1, keepdim=True).values)
    return X_exp / X_exp.sum(dim=1, keepdim=True)


class SoftmaxRegressionScratch(nn.Module):
    """`linear` and `softmax`; weights initialized from ``N(0, sigma^2)``, bias zero (book 4.4.2).

    Returns probabilities, so that its loss is `dive.tasks.losses.cross_entropy`.

    Args:
        num_inputs: number of pixels.
        num_outputs: number of classes.
        sigma: standard deviation of the initial weights.
    """

    def __init__(self, num_inputs: int, num_outputs: int, sigma: float = 0.01) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.normal(0.0, sigma, (num_inputs, num_outputs)))
        self.b = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, X: Tensor) -> Tensor:
        """Classify: ``X: (batch, ...)`` of `num_inputs` pixels each to probabilities ``(batch, num_outputs)``."""
        return softmax(linear(X.flatten(1), self.W, self.b))


class SoftmaxRegression(nn.Module):
    """A linear layer on flattened images (book 4.5.1). Returns logits, for `torch.nn.CrossEntropyLoss`.

    Args:
        num_inputs: number of pixels.
        num_outputs: number of classes.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, num_outputs))

    def forward(self, X: Tensor) -> Tensor:
        """Classify: ``X: (batch, ...)`` of `num_inputs` pixels each to logits ``(batch, num_outputs)``."""
        return self.net(X)
