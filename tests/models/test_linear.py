"""Linear regression: from scratch compared with concise and with closed forms."""

import pytest
import torch
from torch import Tensor, nn

from dive.models import LinearRegression, LinearRegressionScratch
from dive.models.linear import linear
from dive.tasks.losses import squared_loss
from dive.tasks.optim import SGD

MODELS = [LinearRegressionScratch, LinearRegression]


def batch(num_outputs: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 3, generator=generator), torch.randn(16, num_outputs, generator=generator)


def pair(num_outputs: int = 1) -> tuple[LinearRegressionScratch, LinearRegression]:
    """Both models with the same weights, with nonzero biases."""
    torch.manual_seed(1)
    scratch, concise = LinearRegressionScratch(3, num_outputs, sigma=1.0), LinearRegression(3, num_outputs)
    with torch.no_grad():
        scratch.b.normal_()
        concise.net.weight.copy_(scratch.w.T)
        concise.net.bias.copy_(scratch.b)
    return scratch, concise


def assert_close(ours: Tensor | None, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_linear_matches_torch() -> None:
    X, _ = batch()
    w, b = torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([1.0, -2.0])
    assert_close(linear(X, w, b), nn.functional.linear(X, w.T, b))


@pytest.mark.parametrize("num_outputs", [1, 4])
def test_scratch_and_concise_predict_the_same(num_outputs: int) -> None:
    scratch, concise = pair(num_outputs)
    X, _ = batch(num_outputs)
    assert scratch(X).shape == (16, num_outputs)
    assert_close(scratch(X), concise(X))


def test_scratch_loss_and_gradients_are_half_of_the_concise_ones() -> None:
    scratch, concise = pair()
    X, y = batch()
    ours, theirs = squared_loss(scratch(X), y), nn.MSELoss()(concise(X), y)
    assert_close(2 * ours, theirs)
    ours.backward()
    theirs.backward()
    assert_close(2 * scratch.w.grad.T, concise.net.weight.grad)
    assert_close(2 * scratch.b.grad, concise.net.bias.grad)


def test_gradient_matches_the_closed_form() -> None:
    scratch, _ = pair()
    X, y = batch()
    squared_loss(scratch(X), y).backward()
    residual = (X @ scratch.w + scratch.b - y).detach()
    assert_close(scratch.w.grad, X.T @ residual / 16)
    assert_close(scratch.b.grad, residual.mean(0))


def test_scratch_with_twice_the_learning_rate_has_the_same_weights() -> None:
    scratch, concise = pair()
    ours, theirs = SGD(scratch.parameters(), lr=0.06), torch.optim.SGD(concise.parameters(), lr=0.03)
    before = scratch.w.detach().clone()
    X, y = batch()
    for rows in (slice(0, 8), slice(8, 16)):
        ours.zero_grad()
        theirs.zero_grad()
        squared_loss(scratch(X[rows]), y[rows]).backward()
        nn.MSELoss()(concise(X[rows]), y[rows]).backward()
        ours.step()
        theirs.step()
        assert_close(scratch.w.T, concise.net.weight)
        assert_close(scratch.b, concise.net.bias)
    assert not torch.allclose(scratch.w, before)


@pytest.mark.parametrize("model_class", MODELS)
def test_initial_weights_have_standard_deviation_sigma_and_bias_zero(model_class: type[nn.Module]) -> None:
    torch.manual_seed(0)
    w, b = model_class(2000, 10, sigma=0.05).coefficients()
    assert w.std().item() == pytest.approx(0.05, rel=0.03)
    assert abs(w.mean().item()) < 5 * 0.05 / 20000**0.5
    assert torch.equal(b, torch.zeros(10))


@pytest.mark.parametrize("model_class", MODELS)
def test_default_sigma(model_class: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert model_class(20000).coefficients()[0].std().item() == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize("model_class", MODELS)
def test_sigma_0_gives_zero_weights(model_class: type[nn.Module]) -> None:
    assert torch.equal(model_class(5, sigma=0.0).coefficients()[0], torch.zeros(5, 1))


@pytest.mark.parametrize("model_class", MODELS)
def test_coefficients_reproduce_the_predictions(model_class: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = model_class(3, 2, sigma=1.0)
    X, _ = batch()
    w, b = model.coefficients()
    assert (w.shape, b.shape) == ((3, 2), (2,))
    assert not w.requires_grad
    assert not b.requires_grad
    assert_close(X @ w + b, model(X).detach())
