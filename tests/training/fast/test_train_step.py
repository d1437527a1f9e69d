"""The fast training step, compared with plain PyTorch."""

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


class FakeTrainer:
    """The attributes of a trainer that a training step uses."""

    gradient_clip_algorithm = None
    lr_scheduler_configs = ()
    precision_plugin = Precision()

    def __init__(self, optimizer: Any, clip: float | None = None) -> None:
        torch.manual_seed(0)
        self.lightning_module = RegressionTask(LinearRegression(2), nn.MSELoss(), optimizer)
        self.optimizers = [self.lightning_module.configure_optimizers()["optimizer"]]
        self.gradient_clip_val = clip


class TwoUpdates(SGD):
    """Evaluates the closure and updates twice per step."""

    def step(self, closure: Any = None) -> Any:
        """Update twice."""
        for _ in range(2):
            with torch.enable_grad():
                loss = closure()
            super().step()
        return loss


class HalvesGradients(SGD):
    """Halves gradients instead of zeroing them."""

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Halve each gradient."""
        for parameter in (p for group in self.param_groups for p in group["params"]):
            if parameter.grad is not None:
                parameter.grad.mul_(0.5)


def reference(model: nn.Module, optimizer: Optimizer, updates: int, clip: float | None) -> torch.Tensor:
    """The weights after a number of updates on the batch."""
    for _ in range(updates):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(BATCH[0]), BATCH[1]).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        SGD.step(optimizer) if isinstance(optimizer, SGD) else optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters())


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize(("kind", "updates"), [(SGD, 1), (Adam, 1), (TwoUpdates, 2), (HalvesGradients, 1)])
def test_a_step_equals_a_hand_written_one(kind: type[Optimizer], updates: int, clip: float | None) -> None:
    trainer = FakeTrainer(partial(kind, lr=0.1), clip)
    model = copy.deepcopy(trainer.lightning_module.model)
    optimizer = kind(list(model.parameters()), lr=0.1)
    step = make_train_step(trainer)  # type: ignore[arg-type]  # a fake
    losses = [step(BATCH).item() for _ in range(3)]
    assert losses[0] > losses[-1]
    actual = nn.utils.parameters_to_vector(trainer.lightning_module.model.parameters())
    assert torch.equal(actual, reference(model, optimizer, 3 * updates, clip))


def test_torch_s_optimizers_except_lbfgs_call_the_closure_once() -> None:
    parameters = [nn.Parameter(torch.ones(2))]
    assert calls_closure_once(SGD(parameters, lr=0.1))
    assert calls_closure_once(Adam(parameters))
    assert not calls_closure_once(torch.optim.LBFGS(parameters))
    assert not calls_closure_once(TwoUpdates(parameters, lr=0.1))


def test_gradients_of_all_parameter_groups_are_set_to_none() -> None:
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    optimizer = SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.2}], lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones(2)
    zero_grad_set_to_none(optimizer)()
    assert [parameter.grad for parameter in parameters] == [None] * 3
