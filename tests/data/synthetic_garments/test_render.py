"""Rendered images: reproducible, valid, and classifiable but not trivially."""

import pytest
import torch
from torch import Tensor

from dive.data.synthetic_garments.render import CLASS_NAMES, render_images


def render(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(CLASS_NAMES)
    return render_images(labels, generator), labels


def class_means(images: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([images[labels == c].flatten(1).float().mean(0) for c in range(len(CLASS_NAMES))])


def test_same_seed_renders_the_same_images() -> None:
    assert torch.equal(render(50, seed=3)[0], render(50, seed=3)[0])


def test_other_seed_renders_other_images() -> None:
    assert not torch.equal(render(50, seed=3)[0], render(50, seed=4)[0])


def test_generator_advances_between_calls() -> None:
    generator, labels = torch.Generator().manual_seed(0), torch.arange(10)
    assert not torch.equal(render_images(labels, generator), render_images(labels, generator))


@pytest.mark.parametrize("count", [0, 1, 4097])
def test_any_number_of_images(count: int) -> None:
    images = render_images(torch.zeros(count, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert images.shape == (count, 1, 28, 28)
    assert images.dtype == torch.uint8
    assert (images.flatten(1).amax(1) > 0).all()


def test_garments_are_bright_on_a_black_background() -> None:
    images, _ = render(1000, seed=0)
    covered = (images > 0).flatten(1).float().mean(1)
    assert (images.flatten(1).amax(1) > 60).all()
    assert (covered > 0.05).all()
    assert (covered < 0.8).all()
    assert int(images.max()) == 255


def test_images_follow_the_order_of_the_labels() -> None:
    labels = torch.tensor([1, 8]).repeat_interleave(200)
    images = render_images(labels, torch.Generator().manual_seed(0)).float()
    # A bag is wide, and trousers are not: their left quarter stays dark.
    quarter = images[:, 0, :, :6].mean((1, 2))
    assert quarter[:200].max() < quarter[200:].mean()


def test_classes_differ_on_average() -> None:
    means = class_means(*render(2000, seed=0))
    distances = torch.cdist(means, means).fill_diagonal_(torch.inf)
    assert distances.min() > 100


def test_nearest_class_mean_is_better_than_chance_and_not_perfect() -> None:
    means = class_means(*render(2000, seed=0))
    images, labels = render(1000, seed=1)
    predicted = torch.cdist(images.flatten(1).float(), means).argmin(1)
    assert 0.5 < (predicted == labels).float().mean() < 0.9


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 10]), r"0\.\.9"),
        (torch.tensor([-1]), r"0\.\.9"),
        (torch.zeros(2, 2, dtype=torch.int64), "vector of int64"),
        (torch.tensor(3), "vector of int64"),
        (torch.zeros(3), "vector of int64"),
        (torch.zeros(3, dtype=torch.int32), "vector of int64"),
    ],
)
def test_invalid_labels_are_rejected(labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_images(labels, torch.Generator())
