"""Linear regression, from scratch (book 3.4) and concise (book 3.5)."""

import torch
from torch import Tensor, nn


def linear(X: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """The affine map ``X w + b`` (book equation 3.1.3).

    Args:
        X: examples, ``(batch, num_inputs)``.
        w: weights, ``(num_inputs, num_outputs)``.
        b: bias, ``(num_outputs,)``.

    Returns:
        ``(batch, num_outputs)``.

    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0], [-3.4]]), torch.tensor([4.2]))
    tensor([[-0.6000]])
    """
    return X @ w + b


class LinearRegressionScratch(nn.Module):
    """Linear regression with `linear`; weights initialized from ``N(0, sigma^2)``, bias zero (book 3.4.1).

    Args:
        num_inputs: number of features.
        num_outputs: number of targets.
        sigma: standard deviation of the initial weights; 0 is the zero initialization of exercise 3.4.6.
    """

    def __init__(self, num_inputs: int, num_outputs: int = 1, sigma: float = 0.01) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.normal(0.0, sigma, (num_inputs, num_outputs)))
        self.b = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, X: Tensor) -> Tensor:
        """Predict: ``X: (batch, num_inputs)`` to ``(batch, num_outputs)``."""
        return linear(X, self.w, self.b)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """The estimated ``w: (num_inputs, num_outputs)`` and ``b: (num_outputs,)``."""
        return self.w.detach(), self.b.detach()


class LinearRegression(nn.Module):
    """The same model on `torch.nn.Linear` (book 3.5.1).

    Args:
        num_inputs: number of features.
        num_outputs: number of targets.
        sigma: standard deviation of the initial weights; the bias starts at zero.
    """

    def __init__(self, num_inputs: int, num_outputs: int = 1, sigma: float = 0.01) -> None:
        super().__init__()
        self.net = nn.Linear(num_inputs, num_outputs)
        nn.init.normal_(self.net.weight, 0.0, sigma)
        nn.init.zeros_(self.net.bias)

    def forward(self, X: Tensor) -> Tensor:
        """Predict: ``X: (batch, num_inputs)`` to ``(batch, num_outputs)``."""
        return self.net(X)

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """The estimated ``w: (num_inputs, num_outputs)`` and ``b: (num_outputs,)``."""
        return self.net.weight.detach().T, self.net.bias.detach()
