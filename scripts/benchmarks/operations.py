"""Time single operations of the book: adding vectors (3.1.2), reading all images once (4.2)."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.baselines import extract_archives
from benchmarks.paired_timing import PairedTimings, time_in_turn
from dive.config.compose import compose_resolved
from dive.training import instantiate


def time_call(function: Callable[[], object]) -> float:
    """Call a function and return its duration."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def time_addition(repeats: int, length: int = 10000) -> PairedTimings:
    """Adding two vectors at once, against adding them element by element (book 3.1.2)."""
    a, b, c = torch.ones(length), torch.ones(length), torch.zeros(length)

    def elementwise() -> None:
        for i in range(length):
            c[i] = a[i] + b[i]

    def vectorized() -> None:
        for _ in range(100):
            a + b  # the result is not used: only its time counts

    return time_in_turn(lambda: time_call(vectorized) / 100, lambda: time_call(elementwise), repeats)


def time_reading(repeats: int) -> PairedTimings:
    """Reading the 60,000 training images at 32 by 32, starting from the archives, against torchvision."""
    config = compose_resolved("data=fashion_mnist", "data.resize=[32,32]", "data.val_size=0", "data.batch_size=64")

    def read_with_dive() -> None:
        data = instantiate.instantiate_datamodule(config)
        data.setup()
        for _ in data.train_dataloader():
            pass

    with tempfile.TemporaryDirectory() as folder:
        extract_archives(Path(config["data"]["root"]), Path(folder))
        transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
        loader = DataLoader(datasets.FashionMNIST(folder, transform=transform), batch_size=64, shuffle=True)

        def read_with_torchvision() -> None:
            for _ in loader:
                pass

        return time_in_turn(
            lambda: time_call(read_with_dive), lambda: time_call(read_with_torchvision), repeats, warm_up=0
        )
