"""The from-scratch losses compared with torch's and with closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dive.tasks.losses import cross_entropy, l2_penalty, squared_loss


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def some_logits() -> tuple[Tensor, Tensor]:
    """Logits of seven examples and four classes, and targets that contain each class."""
    return 3 * randn(7, 4), torch.tensor([0, 1, 2, 3, 3, 0, 2])


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (5, 3)])
def test_squared_loss_is_half_of_torch_s_mean_squared_error(shape: tuple[int, int]) -> None:
    y_hat, y = randn(*shape, seed=1), randn(*shape, seed=2)
    torch.testing.assert_close(squared_loss(y_hat, y), F.mse_loss(y_hat, y) / 2)


def test_squared_loss_has_the_mean_residual_as_its_gradient() -> None:
    y_hat, y = randn(7, 1, seed=1).requires_grad_(), randn(7, 1, seed=2)
    squared_loss(y_hat, y).backward()
    torch.testing.assert_close(y_hat.grad, (y_hat.detach() - y) / 7)


@pytest.mark.parametrize(
    ("predictions", "targets"), [((7, 1), (7,)), ((7,), (7, 1)), ((7, 1), (1, 1)), ((7, 1), (7, 2))]
)
def test_squared_loss_rejects_shapes_that_would_broadcast(
    predictions: tuple[int, ...], targets: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="same shape") as caught:
        squared_loss(torch.zeros(predictions), torch.zeros(targets))
    assert str(predictions) in str(caught.value)
    assert str(targets) in str(caught.value)


def test_cross_entropy_of_the_book_s_two_examples_is_1_4979() -> None:
    probabilities = torch.tensor([[0.1, 0.3, 0.6], [0.3, 0.2, 0.5]])
    loss = cross_entropy(probabilities, torch.tensor([0, 2])).item()
    assert loss == pytest.approx(-(math.log(0.1) + math.log(0.5)) / 2)
    assert round(loss, 4) == 1.4979


def test_cross_entropy_of_probabilities_is_torch_s_of_logits() -> None:
    logits, y = some_logits()
    torch.testing.assert_close(cross_entropy(logits.softmax(1), y), F.cross_entropy(logits, y))


def test_cross_entropy_is_the_negative_log_likelihood() -> None:
    logits, y = some_logits()
    probabilities = logits.softmax(1)
    torch.testing.assert_close(cross_entropy(probabilities, y), F.nll_loss(probabilities.log(), y))


def test_cross_entropy_of_equal_probabilities_is_the_log_of_the_number_of_classes() -> None:
    loss = cross_entropy(torch.full((3, 10), 0.1), torch.tensor([0, 4, 9]))
    assert loss.item() == pytest.approx(math.log(10))


def test_cross_entropy_has_softmax_minus_one_hot_as_its_gradient() -> None:
    logits, y = some_logits()
    logits.requires_grad_()
    cross_entropy(logits.softmax(1), y).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(1) - F.one_hot(y, 4)) / 7)


@pytest.mark.parametrize(("probabilities", "targets"), [((7, 4), (7, 1)), ((7, 4), (6,)), ((7,), (7,))])
def test_cross_entropy_rejects_mismatched_shapes(probabilities: tuple[int, ...], targets: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"probabilities must be \(batch, num_classes\)"):
        cross_entropy(torch.full(probabilities, 0.25), torch.zeros(targets, dtype=torch.int64))


def test_l2_penalty_is_half_the_sum_of_squares_of_all_tensors() -> None:
    tensors = [randn(3, 4, seed=1), randn(4, 1, seed=2), randn(5, seed=3)]
    squares = sum(value**2 for tensor in tensors for value in tensor.flatten().tolist())
    assert l2_penalty(iter(tensors)).item() == pytest.approx(squares / 2)


def test_l2_penalty_has_the_weight_as_its_gradient() -> None:
    weights = [randn(3, 4, seed=1).requires_grad_(), randn(4, 1, seed=2).requires_grad_()]
    l2_penalty(weights).backward()
    for weight in weights:
        torch.testing.assert_close(weight.grad, weight.detach())
