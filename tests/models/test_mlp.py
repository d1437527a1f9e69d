"""Multilayer perceptrons: from scratch compared with concise, and with torch functions layer by layer."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dive.models import MLP, MLPScratch, SoftmaxRegression
from dive.models.mlp import ACTIVATIONS, relu
from dive.tasks.optim import SGD

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda X: F.prelu(X, torch.tensor([0.25])),
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(16, 1, 2, 3, generator=generator), torch.randint(4, (16,), generator=generator)


def linears(model: nn.Module) -> list[nn.Linear]:
    return [layer for layer in model.modules() if isinstance(layer, nn.Linear)]


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy the weights from one model to another, layer by layer."""
    for theirs, ours in zip(linears(source), linears(target), strict=True):
        ours.load_state_dict(theirs.state_dict())


def pair() -> tuple[MLPScratch, MLP]:
    """Both models with the same weights, with nonzero biases."""
    torch.manual_seed(1)
    scratch, concise = MLPScratch(6, 4, num_hiddens=5, sigma=1.0), MLP(6, 4, num_hiddens=[5])
    first, last = linears(concise)
    with torch.no_grad():
        scratch.b1.normal_()
        scratch.b2.normal_()
        first.weight.copy_(scratch.W1.T)
        first.bias.copy_(scratch.b1)
        last.weight.copy_(scratch.W2.T)
        last.bias.copy_(scratch.b2)
    return scratch, concise


def assert_close(ours: Tensor | None, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def assert_same_weights(scratch: MLPScratch, concise: MLP) -> None:
    first, last = linears(concise)
    assert_close(scratch.W1.T, first.weight)
    assert_close(scratch.b1, first.bias)
    assert_close(scratch.W2.T, last.weight)
    assert_close(scratch.b2, last.bias)


def test_relu_matches_torch() -> None:
    X = torch.tensor([[-2.0, -0.0, 0.0], [1e-30, 3.0, float("inf")]])
    assert torch.equal(relu(X), torch.relu(X))


def test_relu_gradient_matches_torch() -> None:
    X = torch.tensor([-2.0, -1e-3, 1e-3, 3.0])
    ours, theirs = X.clone().requires_grad_(), X.clone().requires_grad_()
    (relu(ours) ** 2 + relu(ours)).sum().backward()
    (torch.relu(theirs) ** 2 + torch.relu(theirs)).sum().backward()
    assert_close(ours.grad, theirs.grad)


def test_scratch_and_concise_have_the_same_logits_loss_and_gradients() -> None:
    scratch, concise = pair()
    X, y = batch()
    assert_close(scratch(X), concise(X))
    ours, theirs = F.cross_entropy(scratch(X), y), F.cross_entropy(concise(X), y)
    assert_close(ours, theirs)
    ours.backward()
    theirs.backward()
    first, last = linears(concise)
    assert_close(scratch.W1.grad.T, first.weight.grad)
    assert_close(scratch.b1.grad, first.bias.grad)
    assert_close(scratch.W2.grad.T, last.weight.grad)
    assert_close(scratch.b2.grad, last.bias.grad)
    assert scratch.W1.grad.abs().max() > 0.01


def test_scratch_and_concise_have_the_same_weights_after_steps() -> None:
    scratch, concise = pair()
    ours, theirs = SGD(scratch.parameters(), lr=0.1), torch.optim.SGD(concise.parameters(), lr=0.1)
    before = scratch.W1.detach().clone()
    X, y = batch()
    for rows in (slice(0, 8), slice(8, 16)):
        ours.zero_grad()
        theirs.zero_grad()
        F.cross_entropy(scratch(X[rows]), y[rows]).backward()
        F.cross_entropy(concise(X[rows]), y[rows]).backward()
        ours.step()
        theirs.step()
        assert_same_weights(scratch, concise)
    assert not torch.allclose(scratch.W1, before)


def test_initial_scratch_weights_have_standard_deviation_sigma_and_bias_zero() -> None:
    torch.manual_seed(0)
    model = MLPScratch(200, 50, num_hiddens=100, sigma=0.05)
    assert (model.W1.shape, model.W2.shape) == ((200, 100), (100, 50))
    for W in (model.W1, model.W2):
        assert W.std().item() == pytest.approx(0.05, rel=0.05)
        assert abs(W.mean().item()) < 5 * 0.05 / W.numel() ** 0.5
    assert torch.equal(model.b1, torch.zeros(100))
    assert torch.equal(model.b2, torch.zeros(50))


@pytest.mark.parametrize("num_hiddens", [[], [5], [5, 3], [7, 5, 3, 2]])
def test_any_number_and_width_of_hidden_layers(num_hiddens: list[int]) -> None:
    torch.manual_seed(0)
    model = MLP(6, 4, num_hiddens=num_hiddens)
    layers = linears(model)
    assert [layer.in_features for layer in layers] == [6, *num_hiddens]
    assert [layer.out_features for layer in layers] == [*num_hiddens, 4]
    X, _ = batch()
    H = X.reshape(16, 6)
    for layer in layers[:-1]:
        H = (H @ layer.weight.T + layer.bias).clamp(min=0)
    assert_close(model(X), H @ layers[-1].weight.T + layers[-1].bias)


def test_without_hidden_layers_mlp_equals_softmax_regression() -> None:
    torch.manual_seed(0)
    model, regression = MLP(6, 4, num_hiddens=[]), SoftmaxRegression(6, 4)
    copy_weights(regression, model)
    X, _ = batch()
    assert torch.equal(model(X), regression(X))


def test_every_activation_has_a_reference() -> None:
    assert ACTIVATIONS.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_activations_match_torch(activation: str) -> None:
    torch.manual_seed(0)
    model = MLP(6, 4, num_hiddens=[5, 3], activation=activation)
    first, second, last = linears(model)
    X, _ = batch()
    function = FUNCTIONS[activation]
    assert_close(model(X), last(function(second(function(first(X.reshape(16, 6)))))))


def test_unknown_activation_error_lists_valid_ones() -> None:
    with pytest.raises(ValueError, match="unknown activation 'step'") as caught:
        MLP(6, 4, activation="step")
    assert all(name in str(caught.value) for name in FUNCTIONS)


@pytest.mark.parametrize("num_hiddens", [[0], [8, -1], [8, 0, 8]])
def test_width_below_1_is_rejected(num_hiddens: list[int]) -> None:
    with pytest.raises(ValueError, match="each of num_hiddens must be at least 1"):
        MLP(6, 4, num_hiddens=num_hiddens)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_dropout_out_of_range_is_rejected(dropout: float) -> None:
    with pytest.raises(ValueError, match="dropout must lie in"):
        MLP(6, 4, dropout=dropout)


def test_no_dropout_layers_without_dropout() -> None:
    assert not [layer for layer in MLP(6, 4, num_hiddens=[5, 3]).modules() if isinstance(layer, nn.Dropout)]


def test_dropout_follows_the_activation_of_each_hidden_layer() -> None:
    layers = list(MLP(6, 4, num_hiddens=[5, 3], activation="tanh", dropout=0.3).net)
    hidden = [nn.Linear, nn.Tanh, nn.Dropout]
    assert [type(layer) for layer in layers] == [nn.Flatten, *hidden, *hidden, nn.Linear]
    assert [layer.p for layer in layers if isinstance(layer, nn.Dropout)] == [0.3, 0.3]


def test_dropout_is_active_only_in_training() -> None:
    torch.manual_seed(0)
    without_dropout, with_dropout = MLP(6, 4, num_hiddens=[32, 32]), MLP(6, 4, num_hiddens=[32, 32], dropout=0.5)
    copy_weights(without_dropout, with_dropout)
    X, _ = batch()
    assert not torch.allclose(with_dropout.train()(X), with_dropout(X))
    assert torch.equal(with_dropout.eval()(X), without_dropout(X))
