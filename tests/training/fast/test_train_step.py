"""A step that is nothing but arithmetic, against the same in plain PyTorch."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning.plugins.precision import Precision
from torch import nn
from torch.optim import SGD, Adam, Optimizer

from dive.models import LinearRegression
from dive.tasks.task import RegressionTask
from dive.training.fast.train_step import calls_closure_once, make_train_step, zero_grad_set_to_none

BATCH = (torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[1.0], [0.5]]))


class Stand:
    """What a step asks of a trainer."""

    gradient_clip_algorithm = None
    precision_plugin = Precision()

    def __init__(self, optimizer: Any, clip: float | None = None) -> None:
        torch.manual_seed(0)
        self.lightning_module = RegressionTask(LinearRegression(2), nn.MSELoss(), optimizer)
        self.optimizers = [self.lightning_module.configure_optimizers()["optimizer"]]
        self.gradient_clip_val = clip


class AskingTwice(SGD):
    """Descends along the gradient where the first step has led to."""

    def step(self, closure: Any = None) -> Any:
        """Two updates."""
        for _ in range(2):
            with torch.enable_grad():
                loss = closure()
            super().step()
        return loss


class Keeping(SGD):
    """Halves gradients where others forget them."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Keep half of each."""
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)


def by_hand(model: nn.Module, optimizer: Optimizer, updates: int, clip: float | None) -> torch.Tensor:
    """The weights after as many updates on the batch."""
    for _ in range(updates):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(BATCH[0]), BATCH[1]).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        SGD.step(optimizer) if isinstance(optimizer, SGD) else optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters())


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(("kind", "updates"), [(SGD, 1), (Adam, 1), (AskingTwice, 2), (Keeping, 1)])
def test_a_step_is_what_it_is_by_hand(kind: type[Optimizer], updates: int, clip: float | None) -> None:
    trainer = Stand(partial(kind, lr=0.1), clip)
    model = copy.deepcopy(trainer.lightning_module.model)
    optimizer = kind(list(model.parameters()), lr=0.1)
    step = make_train_step(trainer)  # type: ignore[arg-type]  # a stand-in
    losses = [step(BATCH).item() for _ in range(3)]
    assert losses[0] > losses[-1]
    ours = nn.utils.parameters_to_vector(trainer.lightning_module.model.parameters())
    assert torch.equal(ours, by_hand(model, optimizer, 3 * updates, clip))


def test_only_torchs_own_optimizers_are_known_to_ask_once() -> None:
    parameters = [nn.Parameter(torch.ones(2))]
    assert calls_closure_once(SGD(parameters, lr=0.1))
    assert calls_closure_once(Adam(parameters))
    assert not calls_closure_once(torch.optim.LBFGS(parameters))
    assert not calls_closure_once(AskingTwice(parameters, lr=0.1))


def test_gradients_are_forgotten_in_every_group() -> None:
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    optimizer = SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.2}], lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones(2)
    zero_grad_set_to_none(optimizer)()
    assert [parameter.grad for parameter in parameters] == [None] * 3
