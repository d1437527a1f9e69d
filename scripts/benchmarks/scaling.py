"""How the time of an epoch scales with examples, batch size, hidden units and classes: a table and a figure."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure

from benchmarks.baselines import HandWritten
from benchmarks.epochs import time_epochs
from benchmarks.paired_timing import PairedTimings
from benchmarks.report import FIGURE, markdown_table
from dive.data.datamodule import InMemoryDataModule, Splits
from dive.data.tensor_dataset import TensorDataset

# The values of the sizes that do not vary.
DEFAULTS = {"examples": 10000, "batch size": 256, "hidden units": 256, "classes": 10}
SIZES = {
    "examples": (1000, 3000, 10000, 30000, 60000),
    "batch size": (16, 64, 256, 1024),
    "hidden units": (16, 64, 256, 1024),
    "classes": (2, 10, 100, 1000),
}
ALT = (
    "Seconds per epoch by examples, batch size, hidden units, classes: dive lies just above the hand-written loop."
)
Timings = Mapping[str, Mapping[int, PairedTimings]]


class RandomImages(InMemoryDataModule):
    """Random images with random labels.

    Args:
        num_examples: number of training examples; the validation split has a tenth of that.
        num_classes: number of classes.
        batch_size: examples per batch.
    """

    name = "noise"
    num_inputs = 28 * 28
    targets = "classes"

    def __init__(self, num_examples: int, num_classes: int, batch_size: int) -> None:
        super().__init__(batch_size=batch_size)
        self.num_examples = num_examples
        self.num_outputs = num_classes

    def load(self) -> Splits:
        """Draw both splits."""
        return Splits(self._draw(self.num_examples), self._draw(max(1, self.num_examples // 10)))

    def _draw(self, num_examples: int) -> TensorDataset:
        images = torch.rand(num_examples, 1, 28, 28)
        return TensorDataset(images, torch.randint(self.num_outputs, (num_examples,)))


def measure(repeats: int) -> Timings:
    """Time epochs of the MLP against the hand-written loop while one size varies."""
    return {
        name: {value: measure_one(DEFAULTS | {name: value}, repeats) for value in values}
        for name, values in SIZES.items()
    }


def measure_one(sizes: Mapping[str, int], repeats: int) -> PairedTimings:
    """Time epochs of the MLP at given sizes."""
    overrides = ("model=mlp", f"model.num_hiddens=[{sizes['hidden units']}]")
    data = RandomImages(sizes["examples"], sizes["classes"], sizes["batch size"])
    return time_epochs(HandWritten, overrides, repeats, data)


def section(timings: Timings) -> str:
    """Make the report's section in Markdown."""
    rows = [
        [
            name,
            str(value),
            *(f"{statistics.median(s):.3g} s" for s in (pairs.dive, pairs.baseline)),
            f"{pairs.ratio:.3g}",
        ]
        for name, points in timings.items()
        for value, pairs in points.items()
    ]
    defaults = ", ".join(f"{name} {value}" for name, value in DEFAULTS.items())
    return (
        "## Scaling\n\nOne epoch of the MLP on random images. One size varies at a time;"
        f" the others are: {defaults}. The hand-written loop validates in batches of the training batch size,"
        " dive in batches of at least 1024."
        f"\n\n{markdown_table(['size', 'value', 'dive', 'hand-written', 'ratio'], rows)}"
        f"\n\n![{ALT}](figures/{FIGURE.name})"
    )


def plot(timings: Timings, path: Path) -> None:
    """Plot the seconds per epoch of both sides, one panel per size."""
    figure = Figure(figsize=(11, 3), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, len(timings), sharey=True), timings.items(), strict=True):
        for label, style, side in (("dive", "o-", "dive"), ("hand-written", "s--", "baseline")):
            medians = [statistics.median(getattr(pairs, side)) for pairs in points.values()]
            axes.plot(list(points), medians, style, label=label)
        axes.set(xlabel=name, xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds per epoch")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)
