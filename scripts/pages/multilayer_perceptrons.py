"""Figures of docs/multilayer_perceptrons.md."""

import torch
import torch.nn.functional as F
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from dive.config.compose import compose_resolved
from dive.data.tensor_dataset import TensorDataset
from dive.models import MLP
from dive.tasks.task import Task
from dive.training import instantiate
from pages.style import COLORS, INK, subplots

# Negative is blue, positive orange, and zero transparent, because pages are white or dark.
_SIGNS = LinearSegmentedColormap.from_list(
    "signs", [(0, COLORS[0]), (0.5, f"{COLORS[0]}00"), (0.5, f"{COLORS[1]}00"), (1, COLORS[1])]
)


def activations() -> Figure:
    """Four activation functions and their gradients, computed by autograd."""
    x = torch.linspace(-6, 6, 601, requires_grad=True)
    figure, (values, gradients) = subplots(2)
    for name, y, line in (
        ("ReLU", torch.relu(x), "-"),
        ("pReLU, slope 1/4", F.prelu(x, torch.tensor(0.25)), "--"),
        ("sigmoid", torch.sigmoid(x), "-"),
        ("tanh", torch.tanh(x), "-"),
    ):
        (gradient,) = torch.autograd.grad(y.sum(), x)
        values.plot(x.detach().numpy(), y.detach().numpy(), line, label=name)
        gradients.plot(x.detach().numpy(), gradient.numpy(), line)
    values.set(title="activation", xlabel="x", ylim=(-1.7, 3.2))
    gradients.set(title="gradient", xlabel="x", ylim=(-0.05, 1.1))
    values.legend(loc="upper left", fontsize="small")
    return figure


def vanishing_gradients() -> Figure:
    """The gradient norm in each layer of a deep MLP at initialization."""
    figure, (axes,) = subplots(1, width=5.4)
    for activation in ("relu", "tanh", "sigmoid"):
        torch.manual_seed(0)
        model = MLP(784, 10, num_hiddens=[64] * 8, activation=activation)
        F.cross_entropy(model(torch.rand(64, 1, 28, 28)), torch.randint(10, (64,))).backward()
        norms = [float(_gradient(layer).norm()) for layer in model.net if isinstance(layer, nn.Linear)]
        axes.semilogy(range(1, len(norms) + 1), norms, "o-", label=activation)
    axes.set(xlabel="layer, counted from the input", ylabel="gradient norm")
    axes.legend()
    return figure


def symmetry() -> Figure:
    """The weights of four hidden units after training, initialized with equal and with random weights."""
    data = instantiate.instantiate_datamodule(
        compose_resolved("model=mlp", "data=garments", "data.num_train=2048", "data.val_size=0")
    )
    figure, axes = subplots(8, width=1.05, height=1.55)
    for start, title in ((0, "equal initial weights"), (4, "random initial weights")):
        torch.manual_seed(0)
        model = MLP(784, 10, num_hiddens=[4])
        layer = next(layer for layer in model.net if isinstance(layer, nn.Linear))
        if start == 0:
            for p in model.parameters():
                nn.init.constant_(p, 0.01)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(30):
            for X, y in data.train_dataloader():
                optimizer.zero_grad()
                F.cross_entropy(model(X), y).backward()
                optimizer.step()
        weights = layer.weight.detach().reshape(4, 28, 28)
        limit = float(weights.abs().max())
        for i, weight in enumerate(weights):
            panel = axes[start + i]
            panel.imshow(weight.numpy(), cmap=_SIGNS, vmin=-limit, vmax=limit)
            panel.set(xticks=[], yticks=[], xlabel=f"unit {i + 1}")
            panel.grid(visible=False)
            panel.spines[:].set(visible=True, color=INK)
        axes[start].set_title(title, loc="left")
    return figure


def weight_decay() -> Figure:
    """Errors of linear regression with 200 weights and 20 examples, without and with weight decay."""
    figure, axes = subplots(2)
    for panel, decay in zip(axes, (0, 3), strict=True):
        config = compose_resolved("experiment=weight_decay", f"optimizer.weight_decay={decay}")
        data = instantiate.instantiate_datamodule(config)
        torch.manual_seed(0)
        task = instantiate.instantiate_task(config, data)
        optimizer = task.configure_optimizers()["optimizer"]
        errors = [_mean_squared_errors(task, data.splits.train, data.splits.val)]
        for _ in range(config["recipe"]["max_epochs"]):
            for batch in data.train_dataloader():
                optimizer.zero_grad()
                task.training_step(batch, 0).backward()
                optimizer.step()
            errors.append(_mean_squared_errors(task, data.splits.train, data.splits.val))
        train, val = zip(*errors, strict=True)
        panel.semilogy(train, label="training")
        panel.semilogy(val, label="validation")
        panel.set(title=f"lambda = {decay}", xlabel="epoch", ylim=(1e-9, 1))
    axes[0].set_ylabel("mean squared error")
    axes[0].legend()
    return figure


@torch.no_grad()
def _mean_squared_errors(task: Task, *splits: TensorDataset) -> list[float]:
    return [float(F.mse_loss(task(split.inputs), split.targets)) for split in splits]


def _gradient(layer: nn.Linear) -> Tensor:
    assert layer.weight.grad is not None
    return layer.weight.grad
