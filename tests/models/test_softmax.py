"""Softmax regression: from scratch compared with concise and with torch."""

import pytest
import torch
from torch import Tensor, nn

from dive.models import SoftmaxRegression, SoftmaxRegressionScratch
from dive.models.softmax import softmax
from dive.tasks.losses import cross_entropy
from dive.tasks.optim import SGD


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(16, 1, 2, 3, generator=generator), torch.randint(4, (16,), generator=generator)


def pair() -> tuple[SoftmaxRegressionScratch, SoftmaxRegression]:
    """Both models with the same weights, with nonzero biases."""
    torch.manual_seed(1)
    scratch, concise = SoftmaxRegressionScratch(6, 4, sigma=1.0), SoftmaxRegression(6, 4)
    layer = concise.net[1]
    with torch.no_grad():
        scratch.b.normal_()
        layer.weight.copy_(scratch.W.T)
        layer.bias.copy_(scratch.b)
    return scratch, concise


def assert_close(ours: Tensor | None, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_softmax_matches_torch() -> None:
    X = 5 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    assert_close(softmax(X), torch.softmax(X, 1))


def test_softmax_gradient_matches_torch() -> None:
    X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    weights = torch.arange(28.0).reshape(7, 4)
    ours, theirs = X.clone().requires_grad_(), X.clone().requires_grad_()
    (weights * softmax(ours)).sum().backward()
    (weights * torch.softmax(theirs, 1)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-5)


def test_softmax_does_not_overflow_or_underflow() -> None:
    X = torch.tensor([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [3e38, 3e38, 0.0]])
    assert_close(softmax(X), torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]]))


def test_scratch_returns_probabilities_of_the_concise_logits() -> None:
    scratch, concise = pair()
    X, _ = batch()
    assert_close(scratch(X), torch.softmax(concise(X), 1))
    assert_close(scratch(X).sum(1), torch.ones(16))


def test_concise_returns_logits_of_flattened_images() -> None:
    _, concise = pair()
    X, _ = batch()
    assert_close(concise(X), nn.functional.linear(X.reshape(16, 6), concise.net[1].weight, concise.net[1].bias))


def test_scratch_and_concise_have_the_same_loss_and_gradients() -> None:
    scratch, concise = pair()
    X, y = batch()
    ours, theirs = cross_entropy(scratch(X), y), nn.CrossEntropyLoss()(concise(X), y)
    assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    assert_close(scratch.W.grad.T, concise.net[1].weight.grad)
    assert_close(scratch.b.grad, concise.net[1].bias.grad)
    assert scratch.W.grad.abs().max() > 0.01


def test_scratch_and_concise_have_the_same_weights_after_steps() -> None:
    scratch, concise = pair()
    ours, theirs = SGD(scratch.parameters(), lr=0.1), torch.optim.SGD(concise.parameters(), lr=0.1)
    before = scratch.W.detach().clone()
    X, y = batch()
    for rows in (slice(0, 8), slice(8, 16)):
        ours.zero_grad()
        theirs.zero_grad()
        cross_entropy(scratch(X[rows]), y[rows]).backward()
        nn.CrossEntropyLoss()(concise(X[rows]), y[rows]).backward()
        ours.step()
        theirs.step()
        assert_close(scratch.W.T, concise.net[1].weight)
        assert_close(scratch.b, concise.net[1].bias)
    assert not torch.allclose(scratch.W, before)


def test_initial_weights_have_standard_deviation_sigma_and_bias_zero() -> None:
    torch.manual_seed(0)
    model = SoftmaxRegressionScratch(2000, 10, sigma=0.05)
    assert model.W.shape == (2000, 10)
    assert model.W.std().item() == pytest.approx(0.05, rel=0.03)
    assert abs(model.W.mean().item()) < 5 * 0.05 / 20000**0.5
    assert torch.equal(model.b, torch.zeros(10))


def test_default_sigma() -> None:
    torch.manual_seed(0)
    assert SoftmaxRegressionScratch(2000, 10).W.std().item() == pytest.approx(0.01, rel=0.03)


def test_zero_weights_give_equal_probabilities() -> None:
    assert_close(SoftmaxRegressionScratch(6, 4, sigma=0.0)(batch()[0]), torch.full((16, 4), 0.25))
