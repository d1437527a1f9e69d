"""Figures of docs/linear_regression.md."""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from dive.config.compose import compose_resolved
from dive.data.synthetic import least_squares
from dive.models.linear import linear
from dive.tasks.losses import squared_loss
from dive.tasks.optim import sgd_step
from dive.training import instantiate
from pages.style import INK, subplots

EPOCHS = 6
BATCH_SIZES = (1000, 100, 10)
LR = 0.03


def normal_densities() -> Figure:
    """The densities of three normal distributions (book 3.1.3)."""
    figure, (axes,) = subplots(width=5)
    x = torch.linspace(-7, 9, 400)
    for (mean, sigma), style in zip(((0, 1), (0, 2), (3, 1)), ("-", "--", "-."), strict=True):
        density = torch.exp(-((x - mean) ** 2) / (2 * sigma**2)) / math.sqrt(2 * math.pi * sigma**2)
        axes.plot(x, density, style, label=f"mean {mean}, sigma {sigma}")
    axes.set(xlabel="x", ylabel="p(x)")
    axes.legend()
    return figure


def sgd_and_closed_form() -> Figure:
    """Paths of minibatch SGD by batch size, and their distance from the closed-form solution (book 3.1.1.4)."""
    train = instantiate.instantiate_datamodule(
        compose_resolved("model=linear_regression", "trainer=cpu")
    ).splits.train
    closed_w, _ = least_squares(train.inputs, train.targets)
    figure, (plane, distance) = subplots(2, width=4.2, height=3.4)
    _plot_loss_contours(plane, closed_w)
    for batch_size, style in zip(BATCH_SIZES, ("-", "--", "-."), strict=True):
        path = _sgd_path(train.inputs, train.targets, batch_size)
        plane.plot(path[:, 0], path[:, 1], style, label=f"batch size {batch_size}")
        epochs = torch.linspace(0, EPOCHS, len(path))
        distance.plot(epochs, (path - closed_w.flatten()).norm(dim=1), style, label=f"batch size {batch_size}")
    plane.plot(*closed_w.flatten().tolist(), "*", color=INK, markersize=12, label="closed form")
    plane.set(xlabel="first weight", ylabel="second weight", title="path of the weights")
    distance.set(xlabel="epoch", yscale="log", title="distance from the closed form")
    plane.legend(fontsize="small", loc="lower left")
    return figure


def _plot_loss_contours(axes: Axes, closed_w: Tensor) -> None:
    first, second = torch.meshgrid(torch.linspace(-0.4, 3.4, 60), torch.linspace(-4, 0.4, 60), indexing="xy")
    distance = torch.stack([first, second], dim=2) - closed_w.flatten()
    # The inputs are independent with variance 1, so the loss is half the squared distance.
    axes.contour(first, second, (distance**2).sum(2) / 2, levels=8, colors=INK, alpha=0.3, linewidths=0.8)


def _sgd_path(X: Tensor, y: Tensor, batch_size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    w, b = torch.zeros(2, 1, requires_grad=True), torch.zeros(1, requires_grad=True)
    path = [w.detach().flatten().clone()]
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(X), generator=generator).split(batch_size):
            loss = squared_loss(linear(X[batch], w, b), y[batch])
            w.grad = b.grad = None
            loss.backward()
            sgd_step([w, b], LR)
            path.append(w.detach().flatten().clone())
    return torch.stack(path)
