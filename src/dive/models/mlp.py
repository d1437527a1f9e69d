"""Multilayer perceptrons, from scratch (book 5.2.1) and concise (book 5.2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dive.models.linear import linear

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def relu(X: Tensor) -> Tensor:
    """The rectified linear unit, ``max(x, 0)`` elementwise (book 5.1.2.1).

    Its gradient at 0 is 0, like that of `torch.relu`; the book's ``torch.max(X, 0)`` has 1/2 there.

    Args:
        X: any shape.

    >>> relu(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    return torch.where(X <= 0, 0.0, X)


class MLPScratch(nn.Module):
    """One hidden layer: ``relu(X W1 + b1) W2 + b2`` (book 5.2.1). Returns logits.

    Args:
        num_inputs: number of pixels.
        num_outputs: number of classes.
        num_hiddens: number of hidden units.
        sigma: standard deviation of the initial weights; biases start at zero.
    """

    def __init__(self, num_inputs: int, num_outputs: int, num_hiddens: int = 256, sigma: float = 0.01) -> None:
        super().__init__()
        self.W1 = nn.Parameter(torch.normal(0.0, sigma, (num_inputs, num_hiddens)))
        self.b1 = nn.Parameter(torch.zeros(num_hiddens))
        self.W2 = nn.Parameter(torch.normal(0.0, sigma, (num_hiddens, num_outputs)))
        self.b2 = nn.Parameter(torch.zeros(num_outputs))

    def forward(self, X: Tensor) -> Tensor:
        """Classify: ``X: (batch, ...)`` of `num_inputs` pixels each to logits ``(batch, num_outputs)``."""
        H = relu(linear(X.flatten(1), self.W1, self.b1))
        return linear(H, self.W2, self.b2)


class MLP(nn.Module):
    """Any number of hidden layers, each followed by activation and dropout (book 5.2.2, 5.6).

    Args:
        num_inputs: number of pixels.
        num_outputs: number of classes.
        num_hiddens: width of each hidden layer, from input to output; ``[]`` is softmax regression.
        activation: one of `ACTIVATIONS`.
        dropout: probability of dropping a hidden unit in training, in ``[0, 1)``.

    Raises:
        ValueError: an unknown activation, a width below 1, or a dropout outside ``[0, 1)``.

    >>> MLP(784, 10, num_hiddens=[256])(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        num_inputs: int,
        num_outputs: int,
        num_hiddens: Sequence[int] = (256,),
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; choose from {', '.join(ACTIVATIONS)}")
        if min(num_hiddens, default=1) < 1:
            raise ValueError(f"each of num_hiddens must be at least 1, got {list(num_hiddens)}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")
        layers: list[nn.Module] = [nn.Flatten()]
        for width in num_hiddens:
            layers += [nn.Linear(num_inputs, width), ACTIVATIONS[activation]()]
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
            num_inputs = width
        self.net = nn.Sequential(*layers, nn.Linear(num_inputs, num_outputs))

    def forward(self, X: Tensor) -> Tensor:
        """Classify: ``X: (batch, ...)`` of `num_inputs` pixels each to logits ``(batch, num_outputs)``."""
        return self.net(X)
