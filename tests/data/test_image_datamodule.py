"""FashionImageDataModule: holdout, resizing, class names."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from dive.data.image_datamodule import FashionImageDataModule, to_float
from dive.errors import DataError

NUM_TRAIN, NUM_TEST = 100, 20


class NumberedImages(FashionImageDataModule):
    """Image i has constant brightness i and class ``i % 10``; test images continue the numbering."""

    name = "numbered"

    def __init__(self, resize: Sequence[int] = (28, 28), val_size: int = 30, split_seed: int = 0) -> None:
        super().__init__(resize, val_size, split_seed, batch_size=8)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """A hundred training images and twenty test images."""
        numbers = torch.arange(NUM_TRAIN + NUM_TEST)
        images = numbers.to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 28, 28)
        labels = numbers % 10
        return (images[:NUM_TRAIN], labels[:NUM_TRAIN]), (images[NUM_TRAIN:], labels[NUM_TRAIN:])


def numbers(inputs: Tensor) -> list[int]:
    """The numbers of the images."""
    return (inputs[:, 0, 0, 0] * 255).round().int().tolist()


def random_images(count: int = 50) -> Tensor:
    return torch.randint(256, (count, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_holdout_and_training_images_partition_the_training_set() -> None:
    train, val, test = NumberedImages(val_size=30).splits
    assert (len(train), len(val)) == (70, 30)
    assert set(numbers(train.inputs)).isdisjoint(numbers(val.inputs))
    assert sorted(numbers(train.inputs) + numbers(val.inputs)) == list(range(NUM_TRAIN))
    assert numbers(test.inputs) == list(range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))


def test_labels_match_their_images() -> None:
    for part in NumberedImages(val_size=30).splits:
        assert part.targets.tolist() == [number % 10 for number in numbers(part.inputs)]


def test_holdout_depends_on_split_seed_and_not_on_the_global_generator() -> None:
    torch.manual_seed(1)
    first = numbers(NumberedImages(split_seed=0).splits.val.inputs)
    torch.manual_seed(2)
    assert numbers(NumberedImages(split_seed=0).splits.val.inputs) == first
    assert numbers(NumberedImages(split_seed=1).splits.val.inputs) != first
    assert sorted(first) != list(range(70, 100)), "sampled, not the last images"


def test_without_holdout_the_test_set_is_used_for_validation() -> None:
    train, val, test = NumberedImages(val_size=0).splits
    assert numbers(train.inputs) == list(range(NUM_TRAIN))
    assert val is test


def test_test_set_does_not_depend_on_the_holdout() -> None:
    assert torch.equal(
        NumberedImages(val_size=0).splits.test.inputs, NumberedImages(val_size=99, split_seed=5).splits.test.inputs
    )


@pytest.mark.parametrize("val_size", [100, 101])
def test_holdout_of_all_images_is_rejected(val_size: int) -> None:
    with pytest.raises(DataError, match=rf"^data\.val_size={val_size}: must be below the 100 training images$"):
        NumberedImages(val_size=val_size).load()


def test_holdout_may_leave_one_training_image() -> None:
    assert [len(part) for part in NumberedImages(val_size=99).splits] == [1, 99, 20]


@pytest.mark.parametrize("size", [[28], [28, 28, 1], [], [0, 28], [28, -1]])
def test_invalid_resize_is_rejected(size: list[int]) -> None:
    with pytest.raises(ValueError, match=r"resize must be \[height, width\], each at least 1, got \["):
        NumberedImages(resize=size)


def test_negative_val_size_is_rejected() -> None:
    with pytest.raises(ValueError, match="val_size must be at least 0, got -1"):
        NumberedImages(val_size=-1)


@pytest.mark.parametrize("size", [[28, 28], [32, 32], [14, 20]])
def test_num_inputs_depends_on_resize(size: list[int]) -> None:
    data = NumberedImages(resize=size)
    assert data.num_inputs == size[0] * size[1]
    for part in data.splits:
        assert part.inputs.shape[1:] == (1, *size)
        assert part.inputs[0].numel() == data.num_inputs


def test_number_of_classes_and_outputs() -> None:
    data = NumberedImages()
    assert len(set(data.class_names)) == len(data.class_names) == data.num_outputs == 10


def test_text_labels() -> None:
    data = NumberedImages()
    assert data.text_labels([8, 0]) == ["bag", "t-shirt"]
    assert data.text_labels(torch.arange(10)) == list(data.class_names)
    assert data.text_labels([]) == []
    with pytest.raises(IndexError):
        data.text_labels([10])


def test_to_float_scales_bytes() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    floats = to_float(images, (1, 3))
    assert floats.dtype == torch.float32
    torch.testing.assert_close(floats.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    assert images.flatten().tolist() == [0, 51, 255]


@pytest.mark.parametrize("size", [(32, 32), (56, 28), (14, 14), (10, 37), (1, 1)])
def test_resizing_matches_torchvision(size: tuple[int, int]) -> None:
    images = random_images()
    resized = to_float(images, size)
    assert resized.shape == (50, 1, *size)
    assert float(resized.min()) >= 0
    assert float(resized.max()) <= 1
    expected = resize(images / 255, list(size), antialias=True)
    torch.testing.assert_close(resized, expected, rtol=0, atol=1e-5)


def test_resizing_keeps_white_images_white() -> None:
    white = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    torch.testing.assert_close(to_float(white, (33, 19)), torch.ones(2, 1, 33, 19))
