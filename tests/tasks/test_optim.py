"""The from-scratch optimizer compared with torch's."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import StepLR

from dive.tasks.optim import SGD, sgd_step

OptimizerFactory = Callable[[nn.Module], Optimizer]


def network() -> nn.Sequential:
    """A network with fixed initial weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 3, generator=generator), torch.randn(8, 1, generator=generator)) for _ in range(count)]


def trained(make: OptimizerFactory, steps: int = 5, schedule: bool = False) -> list[Tensor]:
    """The weights after some training steps."""
    model = network()
    optimizer = make(model)
    scheduler = StepLR(optimizer, step_size=2, gamma=0.5) if schedule else None
    for X, y in batches(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X), y).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
    return [p.detach() for p in model.parameters()]


def assert_same(ours: Iterable[Tensor], theirs: Iterable[Tensor]) -> None:
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, rtol=0, atol=1e-6)


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Two parameter groups, the second with its own learning rate."""
    first, _, last = model.children()
    return [{"params": list(first.parameters())}, {"params": list(last.parameters()), "lr": 0.5}]


def test_steps_equal_those_of_torch() -> None:
    ours = trained(lambda model: SGD(model.parameters(), lr=0.1))
    assert_same(ours, trained(lambda model: torch.optim.SGD(model.parameters(), lr=0.1)))
    assert all(not torch.equal(p, old) for p, old in zip(ours, network().parameters(), strict=True))


def test_parameter_groups_use_their_own_learning_rates() -> None:
    ours = trained(lambda model: SGD(groups(model), lr=0.1))
    assert_same(ours, trained(lambda model: torch.optim.SGD(groups(model), lr=0.1)))
    assert not torch.allclose(ours[2], trained(lambda model: SGD(model.parameters(), lr=0.1))[2])


def test_scheduler_works_as_with_torch() -> None:
    ours = trained(lambda model: SGD(model.parameters(), lr=0.1), schedule=True)
    assert_same(ours, trained(lambda model: torch.optim.SGD(model.parameters(), lr=0.1), schedule=True))
    assert not torch.allclose(ours[0], trained(lambda model: SGD(model.parameters(), lr=0.1))[0])


def test_parameters_without_a_gradient_are_not_changed() -> None:
    used, unused = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = SGD([used, unused], lr=0.25)
    (used * 2).sum().backward()
    optimizer.step()
    assert used.tolist() == [0.5, 0.5]
    assert unused.tolist() == [1.0, 1.0]


def test_step_updates_the_leaf_tensor_in_place() -> None:
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    address = w.data_ptr()
    (w**2).sum().backward()
    sgd_step([w], lr=0.25)
    assert w.tolist() == [0.5, 1.0]
    assert w.data_ptr() == address
    assert w.is_leaf


def test_step_calls_the_closure_with_gradients_and_returns_its_loss() -> None:
    w = nn.Parameter(torch.tensor([3.0]))
    optimizer = SGD([w], lr=0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert w.tolist() == [0.0]


def test_step_without_a_closure_returns_none() -> None:
    assert SGD([nn.Parameter(torch.ones(1))], lr=0.1).step() is None


@pytest.mark.parametrize("lr", [0.0, -0.1, math.nan])
def test_learning_rate_must_be_above_0(lr: float) -> None:
    with pytest.raises(ValueError, match="lr must be above 0"):
        SGD([nn.Parameter(torch.ones(1))], lr=lr)
