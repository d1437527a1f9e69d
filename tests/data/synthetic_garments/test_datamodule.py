"""The drawn set stands in for Fashion-MNIST, and says that it is another."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dive.config.compose import compose_resolved
from dive.data import SyntheticGarments
from dive.errors import DataError
from dive.training import instantiate


def garments(**changes: Any) -> SyntheticGarments:
    few = {
        "num_train": 60,
        "num_test": 20,
        "draw_seed": 0,
        "resize": [28, 28],
        "val_size": 10,
        "batch_size": 8,
    }
    return SyntheticGarments(**few | changes)


def test_it_has_the_shapes_and_classes_of_fashion_mnist_and_a_name_of_its_own() -> None:
    drawn, real = (
        garments(),
        instantiate.instantiate_datamodule(compose_resolved("model=mlp", "data=fashion_mnist")),
    )
    for name in ("num_inputs", "num_outputs", "class_names", "size"):
        assert getattr(drawn, name) == getattr(real, name)
    assert drawn.name != real.name
    for part, count in zip(drawn.splits, (50, 10, 20), strict=True):
        assert part.inputs.shape == (count, 1, 28, 28)
        assert part.inputs.dtype == torch.float32
        assert part.targets.shape == (count,)
        assert part.targets.dtype == torch.int64
        assert float(part.inputs.min()) == 0
        assert 0.5 < float(part.inputs.max()) <= 1


def test_every_class_is_drawn_about_as_often() -> None:
    counts = garments(num_train=2000).splits.train.targets.bincount(minlength=10)
    assert len(counts) == 10
    assert counts.min() > 140
    assert counts.max() < 260


def test_the_drawings_are_the_same_whatever_the_seed() -> None:
    torch.manual_seed(1)
    first = garments(seed=0, val_size=0).splits
    torch.manual_seed(2)
    second = garments(seed=7, val_size=0).splits
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_the_seed_draws_the_holdout() -> None:
    first, second = garments(seed=0).splits, garments(seed=7).splits
    assert torch.equal(first.test.inputs, second.test.inputs)
    assert not torch.equal(first.val.inputs, second.val.inputs)


def test_another_draw_seed_draws_other_images() -> None:
    first, second = garments(draw_seed=0, val_size=0).splits, garments(draw_seed=1, val_size=0).splits
    for one, other in zip(first, second, strict=True):
        assert not torch.equal(one.inputs, other.inputs)
        assert not torch.equal(one.targets, other.targets)


def test_training_and_test_images_are_different_drawings() -> None:
    (images, _), (test_images, _) = garments(num_train=200, num_test=200).read()
    assert not {tuple(image.flatten().tolist()) for image in images} & {
        tuple(image.flatten().tolist()) for image in test_images
    }


def test_images_are_scaled_to_the_size_that_was_asked_for() -> None:
    data = garments(resize=[32, 16])
    assert data.num_inputs == 512
    assert data.splits.train.inputs.shape == (50, 1, 32, 16)


def test_it_has_a_test_set() -> None:
    data = garments()
    assert data.has_test
    assert sum(len(labels) for _, labels in data.test_dataloader()) == 20


@pytest.mark.parametrize("settings", [{"num_train": 0}, {"num_test": 0}, {"num_train": -5}])
def test_a_set_without_images_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"num_train and num_test must be at least 1, got -?\d+ and \d+"):
        garments(**settings)


def test_the_other_sizes_are_guarded_too() -> None:
    with pytest.raises(ValueError, match="resize must be"):
        garments(resize=[28])
    with pytest.raises(ValueError, match="val_size must be at least 0"):
        garments(val_size=-1)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        garments(batch_size=0)


def test_a_holdout_too_large_names_the_key_and_the_limit() -> None:
    with pytest.raises(DataError, match=r"data\.val_size=60: must be below the 60 training images"):
        garments(val_size=60).load()


def test_models_learn_it_and_a_hidden_layer_helps(fit: Callable[..., Any]) -> None:
    few = ("data=garments", "data.num_train=4000", "data.num_test=1", "data.val_size=1000", "data.batch_size=64")
    recipe = ("optimizer.lr=0.2", "trainer.max_epochs=8")
    softmax, mlp = (
        float(fit(f"model={model}", *few, *recipe).trainer.callback_metrics["val/acc"])
        for model in ("softmax_regression", "mlp")
    )
    assert 0.5 < softmax < mlp - 0.03, "chance is 0.1"
    assert mlp < 0.98
