"""Synthetic regression data and its closed-form solution, against numpy's least squares."""

from typing import Any

import numpy as np
import pytest
import torch

from dive.data import SyntheticRegression
from dive.data.synthetic import least_squares
from dive.errors import DataError


def make_data(**settings: Any) -> SyntheticRegression:
    return SyntheticRegression(
        **{
            "w": [2.0, -3.4],
            "b": 4.2,
            "noise": 0.01,
            "num_train": 40,
            "num_val": 30,
            "batch_size": 8,
            **settings,
        }
    )


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_least_squares_matches_numpy(num_outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(50, 4, generator=generator), torch.randn(50, num_outputs, generator=generator)
    w, b = least_squares(X, y)
    design = np.column_stack([X.double().numpy(), np.ones(50)])
    solution = np.linalg.lstsq(design, y.double().numpy(), rcond=None)[0]
    assert (w.shape, b.shape) == ((4, num_outputs), (num_outputs,))
    np.testing.assert_allclose(w.numpy(), solution[:-1], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(b.numpy(), solution[-1], rtol=1e-6, atol=1e-6)


def test_least_squares_satisfies_the_normal_equations_of_the_book() -> None:
    generator = torch.Generator().manual_seed(1)
    X, y = torch.randn(50, 4, generator=generator), torch.randn(50, 1, generator=generator)
    w, b = least_squares(X, y)
    residual = (y - X @ w - b).double()
    torch.testing.assert_close(X.double().T @ residual, torch.zeros(4, 1).double(), rtol=0, atol=1e-4)
    assert residual.sum().item() == pytest.approx(0, abs=1e-4)


def test_least_squares_recovers_the_true_coefficients_without_noise() -> None:
    data = make_data(noise=0.0)
    w, b = least_squares(data.splits.train.inputs, data.splits.train.targets)
    torch.testing.assert_close(w, data.w, rtol=0, atol=1e-5)
    torch.testing.assert_close(b, data.b, rtol=0, atol=1e-5)


def test_underdetermined_least_squares_is_the_minimum_norm_solution() -> None:
    generator = torch.Generator().manual_seed(2)
    X, y = torch.randn(5, 20, generator=generator), torch.randn(5, 1, generator=generator)
    w, b = least_squares(X, y)
    torch.testing.assert_close(X @ w + b, y, rtol=0, atol=1e-5)
    design = np.column_stack([X.double().numpy(), np.ones(5)])
    shortest = np.linalg.pinv(design) @ y.double().numpy()
    np.testing.assert_allclose(torch.cat([w[:, 0], b]).numpy(), shortest[:, 0], rtol=1e-5, atol=1e-6)


def test_split_shapes() -> None:
    train, val, test = make_data().splits
    assert (train.inputs.shape, train.targets.shape) == ((40, 2), (40, 1))
    assert (val.inputs.shape, val.targets.shape) == ((30, 2), (30, 1))
    assert test is None


@pytest.mark.parametrize("w", [[3.0], [1.0, -1.0, 2.0], [0.01] * 200, [2, -3]])
def test_any_number_of_weights(w: list[float]) -> None:
    data = make_data(w=w, noise=0.0)
    assert (data.num_inputs, data.num_outputs) == (len(w), 1)  # known before loading
    X, y = data.splits.train.inputs, data.splits.train.targets
    expected = X.double().numpy() @ np.array(w, dtype=np.float64) + 4.2
    np.testing.assert_allclose(y[:, 0].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_distribution_of_inputs_and_noise() -> None:
    data = make_data(noise=0.5, num_train=10000, num_val=10000)
    for part in data.splits[:2]:
        noise = part.targets - part.inputs @ data.w - data.b
        assert noise.mean().item() == pytest.approx(0, abs=5 * 0.5 / 100)
        assert noise.std().item() == pytest.approx(0.5, rel=0.04)
        assert part.inputs.mean().item() == pytest.approx(0, abs=5 / 20000**0.5)
        assert part.inputs.std().item() == pytest.approx(1, rel=0.03)
        assert torch.corrcoef(torch.cat([part.inputs, noise], 1).T).triu(1).abs().max() < 0.05


def test_data_do_not_depend_on_the_global_generator() -> None:
    first = make_data(draw_seed=3).splits
    torch.randn(7)
    second = make_data(draw_seed=3).splits
    for ours, theirs in zip(first[:2], second[:2], strict=True):
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(ours.targets, theirs.targets)


def test_another_draw_seed_generates_other_data() -> None:
    assert not torch.equal(make_data(draw_seed=3).splits.train.inputs, make_data(draw_seed=4).splits.train.inputs)


def test_training_and_validation_examples_differ() -> None:
    train, val, _ = make_data().splits
    assert not (train.inputs[:, None] == val.inputs[None]).all(2).any()


def test_data_are_generated_once() -> None:
    data = make_data()
    assert data.splits.train.inputs is data.splits.train.inputs


def test_data_loaders_cover_both_splits() -> None:
    data = make_data()
    train = torch.cat([inputs for inputs, _ in data.train_dataloader()])
    val = torch.cat([inputs for inputs, _ in data.val_dataloader()])
    assert not torch.equal(train, data.splits.train.inputs)
    assert sorted(train.tolist()) == sorted(data.splits.train.inputs.tolist())
    assert torch.equal(val, data.splits.val.inputs)


def test_missing_test_split() -> None:
    data = make_data()
    assert not data.has_test
    with pytest.raises(DataError, match="synthetic_regression has no test split"):
        data.test_dataloader()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"w": []}, "w must have at least one weight"),
        ({"num_train": 0}, "num_train and num_val must be at least 1, got 0 and 30"),
        ({"num_val": 0}, "num_train and num_val must be at least 1, got 40 and 0"),
        ({"noise": -0.1}, "noise must be at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
    ],
)
def test_invalid_arguments_are_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_data(**settings)
