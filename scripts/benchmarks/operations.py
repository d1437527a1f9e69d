"""Single operations of the book, timed: adding vectors (3.1.2), reading all images once (4.2)."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.baselines import unpack
from benchmarks.paired_timing import PairedTimings, time_in_turn
from dive.config.compose import compose_resolved
from dive.training import instantiate


def timed(action: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def addition(repeats: int, length: int = 10000) -> PairedTimings:
    """Adding two vectors at once, against adding them number by number (book 3.1.2)."""
    a, b, c = torch.ones(length), torch.ones(length), torch.zeros(length)

    def elementwise() -> None:
        for i in range(length):
            c[i] = a[i] + b[i]

    def vectorised() -> None:
        for _ in range(100):
            a + b  # it is the time that is wanted

    return time_in_turn(lambda: timed(vectorised) / 100, lambda: timed(elementwise), repeats)


def reading(repeats: int) -> PairedTimings:
    """Going through the 60,000 training images at 32 by 32: ours from the archives on, against torchvision's."""
    config = compose_resolved("data=fashion_mnist", "data.resize=[32,32]", "data.val_size=0", "data.batch_size=64")

    def ours() -> None:
        data = instantiate.instantiate_datamodule(config)
        data.setup()
        for _ in data.train_dataloader():
            pass

    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(config["data"]["root"]), Path(folder))
        transform = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
        loader = DataLoader(datasets.FashionMNIST(folder, transform=transform), batch_size=64, shuffle=True)

        def peers() -> None:
            for _ in loader:
                pass

        return time_in_turn(lambda: timed(ours), lambda: timed(peers), repeats, warm_up=0)
