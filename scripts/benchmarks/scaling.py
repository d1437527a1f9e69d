"""How the time of an epoch grows with examples, batch size, hidden units and classes: a table and a picture."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure

from benchmarks.baselines import HandWritten
from benchmarks.epochs import against
from benchmarks.paired_timing import PairedTimings
from benchmarks.report import PICTURE, table
from dive.data.datamodule import InMemoryDataModule, Splits
from dive.data.tensor_dataset import TensorDataset

# Where one of them varies, the others are these.
USUAL = {"examples": 10000, "batch size": 256, "hidden units": 256, "classes": 10}
VARIED = {
    "examples": (1000, 3000, 10000, 30000, 60000),
    "batch size": (16, 64, 256, 1024),
    "hidden units": (16, 64, 256, 1024),
    "classes": (2, 10, 100, 1000),
}
ALT = (
    "Seconds an epoch against examples, batch size, hidden units, classes: ours lies just above the loop by hand."
)
Growth = Mapping[str, Mapping[int, PairedTimings]]


class Noise(InMemoryDataModule):
    """Images and labels that mean nothing, as many as wanted.

    Args:
        num_examples: to train on; a tenth of that to validate on.
        num_classes: of the labels.
        batch_size: examples of a batch.
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


def growth(repeats: int) -> Growth:
    """Epochs of the MLP, ours and by hand, while one thing varies."""
    return {
        what: {value: measure_one(USUAL | {what: value}, repeats) for value in VARIED[what]} for what in VARIED
    }


def measure_one(size: Mapping[str, int], repeats: int) -> PairedTimings:
    """Epochs of the MLP at one size."""
    overrides = ("model=mlp", f"model.num_hiddens=[{size['hidden units']}]")
    data = Noise(size["examples"], size["classes"], size["batch size"])
    return against(HandWritten, overrides, repeats, data)


def section(grown: Growth) -> str:
    """The table, in Markdown."""
    rows = [
        [what, str(value), *(f"{statistics.median(side):.3g} s" for side in (p.ours, p.peers)), f"{p.ratio:.3g}"]
        for what, points in grown.items()
        for value, p in points.items()
    ]
    usual = ", ".join(f"{value} {what}" for what, value in USUAL.items())
    return (
        f"## How it grows\n\nOne epoch of the MLP on noise, one thing varied at a time; else {usual}. The loop "
        f"written by hand validates in batches of the same size, ours in batches of 1024 at least.\n\n"
        f"{table(['varied', '', 'ours', 'by hand', 'ratio'], rows)}\n\n![{ALT}](figures/{PICTURE.name})"
    )


def picture(grown: Growth, path: Path) -> None:
    """Seconds of an epoch, ours and by hand, a panel for each thing that varies."""
    import statistics

    figure = Figure(figsize=(11, 3), layout="constrained")
    for axes, (what, points) in zip(figure.subplots(1, len(grown), sharey=True), grown.items(), strict=True):
        for label, style, side in (("dive", "o-", "ours"), ("by hand", "s--", "peers")):
            medians = [statistics.median(getattr(pairs, side)) for pairs in points.values()]
            axes.plot(list(points), medians, style, label=label)
        axes.set(xlabel=what, xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("seconds an epoch")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)
