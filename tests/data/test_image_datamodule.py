"""What the image sets share: the holdout, the sizes, the names."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from dive.data.image_datamodule import FashionImageDataModule, to_float
from dive.errors import DataError

NUM_TRAIN, NUM_TEST = 100, 20


class Numbered(FashionImageDataModule):
    """Image i is of brightness i throughout, and of class ``i % 10``; test images go on counting."""

    name = "numbered"

    def __init__(self, resize: Sequence[int] = (28, 28), val_size: int = 30, seed: int = 0) -> None:
        super().__init__(resize, val_size, batch_size=8, seed=seed)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """A hundred images to train on, twenty to test on."""
        numbers = torch.arange(NUM_TRAIN + NUM_TEST)
        images = numbers.to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 28, 28)
        labels = numbers % 10
        return (images[:NUM_TRAIN], labels[:NUM_TRAIN]), (images[NUM_TRAIN:], labels[NUM_TRAIN:])


def numbers(inputs: Tensor) -> list[int]:
    """Which images these are."""
    return (inputs[:, 0, 0, 0] * 255).round().int().tolist()


def random_images(count: int = 50) -> Tensor:
    return torch.randint(256, (count, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_holdout_and_training_images_are_disjoint_and_together_all() -> None:
    train, val, test = Numbered(val_size=30).splits
    assert (len(train), len(val)) == (70, 30)
    assert set(numbers(train.inputs)).isdisjoint(numbers(val.inputs))
    assert sorted(numbers(train.inputs) + numbers(val.inputs)) == list(range(NUM_TRAIN))
    assert numbers(test.inputs) == list(range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))


def test_labels_stay_with_their_images() -> None:
    for part in Numbered(val_size=30).splits:
        assert part.targets.tolist() == [number % 10 for number in numbers(part.inputs)]


def test_the_holdout_is_drawn_with_the_seed_and_not_with_the_global_generator() -> None:
    torch.manual_seed(1)
    first = numbers(Numbered(seed=0).splits.val.inputs)
    torch.manual_seed(2)
    assert numbers(Numbered(seed=0).splits.val.inputs) == first
    assert numbers(Numbered(seed=1).splits.val.inputs) != first
    assert sorted(first) != list(range(70, 100)), "it is drawn, not cut off the end"


def test_without_a_holdout_validation_is_on_the_test_set() -> None:
    train, val, test = Numbered(val_size=0).splits
    assert numbers(train.inputs) == list(range(NUM_TRAIN))
    assert val is test


def test_the_test_set_is_the_same_whatever_the_holdout() -> None:
    assert torch.equal(Numbered(val_size=0).splits.test.inputs, Numbered(val_size=99, seed=5).splits.test.inputs)


@pytest.mark.parametrize("val_size", [100, 101])
def test_a_holdout_that_leaves_nothing_to_train_on_is_refused(val_size: int) -> None:
    with pytest.raises(DataError, match=rf"^data\.val_size={val_size}: must be below the 100 training images$"):
        Numbered(val_size=val_size).load()


def test_a_holdout_that_leaves_one_image_is_fine() -> None:
    assert [len(part) for part in Numbered(val_size=99).splits] == [1, 99, 20]


@pytest.mark.parametrize("size", [[28], [28, 28, 1], [], [0, 28], [28, -1]])
def test_a_size_that_is_no_height_and_width_is_refused(size: list[int]) -> None:
    with pytest.raises(ValueError, match=r"resize must be \[height, width\], each at least 1, got \["):
        Numbered(resize=size)


def test_a_negative_holdout_is_refused() -> None:
    with pytest.raises(ValueError, match="val_size must be at least 0, got -1"):
        Numbered(val_size=-1)


@pytest.mark.parametrize("size", [[28, 28], [32, 32], [14, 20]])
def test_the_number_of_inputs_follows_the_size(size: list[int]) -> None:
    data = Numbered(resize=size)
    assert data.num_inputs == size[0] * size[1]
    for part in data.splits:
        assert part.inputs.shape[1:] == (1, *size)
        assert part.inputs[0].numel() == data.num_inputs


def test_there_are_ten_classes_and_as_many_outputs() -> None:
    data = Numbered()
    assert len(set(data.class_names)) == len(data.class_names) == data.num_outputs == 10


def test_labels_are_named() -> None:
    data = Numbered()
    assert data.text_labels([8, 0]) == ["bag", "t-shirt"]
    assert data.text_labels(torch.arange(10)) == list(data.class_names)
    assert data.text_labels([]) == []
    with pytest.raises(IndexError):
        data.text_labels([10])


def test_bytes_become_floats_between_0_and_1() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    floats = to_float(images, (1, 3))
    assert floats.dtype == torch.float32
    torch.testing.assert_close(floats.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    assert images.flatten().tolist() == [0, 51, 255]


@pytest.mark.parametrize("size", [(32, 32), (56, 28), (14, 14), (10, 37), (1, 1)])
def test_resizing_is_torchvision_s_bilinear_with_antialiasing(size: tuple[int, int]) -> None:
    images = random_images()
    resized = to_float(images, size)
    assert resized.shape == (50, 1, *size)
    assert float(resized.min()) >= 0
    assert float(resized.max()) <= 1
    expected = resize(images / 255, list(size), antialias=True)
    torch.testing.assert_close(resized, expected, rtol=0, atol=1e-5)


def test_resizing_leaves_white_white() -> None:
    white = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    torch.testing.assert_close(to_float(white, (33, 19)), torch.ones(2, 1, 33, 19))
