"""The synthetic data set has the interface of Fashion-MNIST under its own name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dive.config.compose import compose_resolved
from dive.data import SyntheticGarments
from dive.errors import DataError
from dive.training import instantiate


def make_garments(**changes: Any) -> SyntheticGarments:
    settings = {
        "num_train": 60,
        "num_test": 20,
        "draw_seed": 0,
        "resize": [28, 28],
        "val_size": 10,
        "batch_size": 8,
    }
    return SyntheticGarments(**settings | changes)


def test_shapes_and_classes_of_fashion_mnist_under_another_name() -> None:
    synthetic, real = (
        make_garments(),
        instantiate.instantiate_datamodule(compose_resolved("model=mlp", "data=fashion_mnist")),
    )
    for name in ("num_inputs", "num_outputs", "class_names", "size"):
        assert getattr(synthetic, name) == getattr(real, name)
    assert synthetic.name != real.name
    for part, count in zip(synthetic.splits, (50, 10, 20), strict=True):
        assert part.inputs.shape == (count, 1, 28, 28)
        assert part.inputs.dtype == torch.float32
        assert part.targets.shape == (count,)
        assert part.targets.dtype == torch.int64
        assert float(part.inputs.min()) == 0
        assert 0.5 < float(part.inputs.max()) <= 1


def test_classes_are_balanced() -> None:
    counts = make_garments(num_train=2000).splits.train.targets.bincount(minlength=10)
    assert len(counts) == 10
    assert counts.min() > 140
    assert counts.max() < 260


def test_images_do_not_depend_on_the_seed() -> None:
    torch.manual_seed(1)
    first = make_garments(seed=0, val_size=0).splits
    torch.manual_seed(2)
    second = make_garments(seed=7, val_size=0).splits
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_holdout_depends_on_split_seed() -> None:
    first, second = make_garments(split_seed=0).splits, make_garments(split_seed=7).splits
    assert torch.equal(first.test.inputs, second.test.inputs)
    assert not torch.equal(first.val.inputs, second.val.inputs)


def test_images_depend_on_draw_seed() -> None:
    first, second = make_garments(draw_seed=0, val_size=0).splits, make_garments(draw_seed=1, val_size=0).splits
    for one, other in zip(first, second, strict=True):
        assert not torch.equal(one.inputs, other.inputs)
        assert not torch.equal(one.targets, other.targets)


def test_training_and_test_images_differ() -> None:
    (images, _), (test_images, _) = make_garments(num_train=200, num_test=200).read()
    assert not {tuple(image.flatten().tolist()) for image in images} & {
        tuple(image.flatten().tolist()) for image in test_images
    }


def test_images_are_resized() -> None:
    data = make_garments(resize=[32, 16])
    assert data.num_inputs == 512
    assert data.splits.train.inputs.shape == (50, 1, 32, 16)


def test_test_split() -> None:
    data = make_garments()
    assert data.has_test
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 20


@pytest.mark.parametrize("settings", [{"num_train": 0}, {"num_test": 0}, {"num_train": -5}])
def test_sizes_below_1_are_rejected(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"num_train and num_test must be at least 1, got -?\d+ and \d+"):
        make_garments(**settings)


def test_invalid_base_class_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="resize must be"):
        make_garments(resize=[28])
    with pytest.raises(ValueError, match="val_size must be at least 0"):
        make_garments(val_size=-1)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        make_garments(batch_size=0)


def test_too_large_holdout_names_key_and_limit() -> None:
    with pytest.raises(DataError, match=r"data\.val_size=60: must be below the 60 training images"):
        make_garments(val_size=60).load()


@pytest.mark.slow
def test_mlp_is_more_accurate_than_softmax_regression(fit: Callable[..., Any]) -> None:
    settings = (
        "data=garments",
        "data.num_train=4000",
        "data.num_test=1",
        "data.val_size=1000",
        "data.batch_size=64",
    )
    recipe = ("optimizer.lr=0.2", "trainer.max_epochs=8")
    softmax, mlp = (
        float(fit(f"model={model}", *settings, *recipe).trainer.callback_metrics["val/acc"])
        for model in ("softmax_regression", "mlp")
    )
    assert 0.5 < softmax < mlp - 0.03, "chance is 0.1"
    assert mlp < 0.98
