"""Time dive against what people use instead, in turn: ``make bench``.

It prints a line for each pair as it comes, with its bound where it has one, and writes docs/benchmarks.md and its
picture. It takes some twenty minutes; ``--only epochs start-up`` takes parts. Status 1 says that a bound is not met.
"""

import argparse
import logging
import platform
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning
import torch
from benchmarks import accelerator, growth, operations, processes
from benchmarks.epochs import against
from benchmarks.peers import Book, HandWritten, PerItem, PerStepLogging, book_is_here
from benchmarks.turns import Pairs

from dive import build
from dive.compose import settings
from dive.errors import DataError
from dive.log import quiet

DOCS = Path(__file__).parents[1] / "docs"
SWEEP_JOBS = 16


@dataclass
class Row:
    """One comparison. The ratio is ours against the peer's; it must not be above `bound`."""

    what: str
    peer: str
    pairs: Pairs | None
    bound: float | None = None
    unit: str = "s"

    @property
    def met(self) -> bool:
        """Whether its bound is."""
        return self.pairs is None or self.bound is None or self.pairs.ratio <= self.bound

    def cells(self) -> list[str]:
        """What the table says."""
        if self.pairs is None:
            return [self.what, self.peer, "", "", "", "", ""]
        ours, peers = (f"{statistics.median(side):.3g} {self.unit}" for side in (self.pairs.ours, self.pairs.peers))
        low, high = self.pairs.spread
        bound = "" if self.bound is None else f"{self.bound:.2f}: {'met' if self.met else 'NOT MET'}"
        ratio, spread = f"{self.pairs.ratio:.3g}", f"{low:.3g} to {high:.3g}"
        return [self.what, self.peer, ours, peers, ratio, f"{spread} ({len(self.pairs.ours)})", bound]


def epochs(n: int, images: tuple[str, ...]) -> Iterator[Row]:
    """Epochs, everything on."""
    for model, data, bound in (
        ("mlp", images, 1.10),
        ("softmax_regression", images, 1.5),
        ("linear_regression", (), 1.5),
        ("linear_regression", ("data.num_train=60000",), 1.5),
    ):
        size = " on 60,000 examples" if data != images and data else ""
        pairs = against(HandWritten, (f"model={model}", *data), n if data else 5 * n)
        yield Row(f"{model}{size}", "a loop written by hand", pairs, bound)
    yield Row("mlp", "plain Lightning, logging each step", against(PerStepLogging, ("model=mlp", *images), n // 2), 1)
    for name, peer in (("torchvision's data set, item by item", PerItem), ("the book's trainer and loader", Book)):
        here = "data=garments" not in images and (peer is not Book or book_is_here())
        yield Row("mlp", name, against(peer, ("model=mlp", *images), n // 4) if here else None, 1)


def executions(n: int, images: tuple[str, ...]) -> Iterator[Row]:
    """Epochs by trainer.steps_per_execution."""
    for model, data in (("mlp", images), ("softmax_regression", images), ("linear_regression", ())):
        for steps in (1, 10, 50, 250):
            overrides = (f"model={model}", f"trainer.steps_per_execution={steps}", *data)
            pairs = against(HandWritten, overrides, n if data else 5 * n)
            yield Row(f"{model}, {steps} at once", "a loop written by hand", pairs)


def single(n: int, images: tuple[str, ...]) -> Iterator[Row]:
    """Single operations of the book."""
    yield Row("adding vectors of 10,000 numbers", "number by number", operations.addition(n))
    pairs = operations.reading(max(1, n // 8)) if "data=garments" not in images else None
    yield Row("reading 60,000 images at 32 by 32 (the book: 13.42 s)", "torchvision's data set, item by item", pairs, 1)


def start_up(n: int, images: tuple[str, ...]) -> Iterator[Row]:
    """Processes that start, and how much memory a run takes."""
    for arguments in (["--help"], ["--cfg", "job"]):
        pairs = processes.start_up(arguments, "import hydra", max(2, n // 4))
        yield Row(f"`train.py {' '.join(arguments)}`", "`import hydra`", pairs)
    pairs = processes.first_step(("model=mlp", "trainer=cpu", *images), max(2, n // 8))
    yield Row("`train.py model=mlp`, to its first step", "`import torch, pytorch_lightning`", pairs)
    pairs = processes.memory(("model=mlp", *images), 70000, max(2, n // 8))
    yield Row("peak memory of `model=mlp`", "torch, Lightning, and the images as bytes and floats", pairs, 1.3, "MB")


def sweep(n: int, images: tuple[str, ...]) -> Iterator[Row]:
    """A whole sweep."""
    pairs = processes.sweeps(("model=mlp", *images), SWEEP_JOBS)
    yield Row(f"{SWEEP_JOBS} jobs of an epoch, `launcher=parallel`", "`launcher=serial`", pairs, 1)


PARTS: dict[str, Callable[[int, tuple[str, ...]], Iterator[Row]]] = {
    "epochs": epochs,
    "steps-per-execution": executions,
    "operations": single,
    "start-up": start_up,
    "sweep": sweep,
}


def image_data() -> tuple[str, ...]:
    """Fashion-MNIST where it is; else as many drawn garments. Validated on the test set, as in the book."""
    try:
        build.data(settings("model=mlp", "data.download=false")).setup()
    except DataError:
        return "data=garments", "data.num_train=60000", "data.num_test=10000", "data.val_size=0"
    return ("data.val_size=0",)


def machine() -> str:
    """What this was measured on."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads, {device}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {pytorch_lightning.__version__}"
    )


def table(head: list[str], rows: list[list[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=24, help="pairs of epochs after the warm-up (default: 24)")
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "growth", "gpu"], help="parts; nothing is written then")
    arguments = parser.parse_args()
    quiet()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    wanted = arguments.only or [*PARTS, "growth", "gpu"]
    images, sections, missed = image_data(), [], False
    for part in (part for part in PARTS if part in wanted):
        rows = []
        print(f"\n{part}: {PARTS[part].__doc__}", flush=True)
        for row in PARTS[part](arguments.repeats, images):
            print("  " + "; ".join(cell for cell in row.cells() if cell), flush=True)
            rows.append(row.cells())
            missed = missed or not row.met
        head = ["ours", "peer", "ours", "peer", "ratio", "quartiles (pairs)", "bound"]
        sections.append(f"## {PARTS[part].__doc__}\n\n{table(head, rows)}")
    if "growth" in wanted:
        grown = growth.growth(max(2, arguments.repeats // 6))
        rows = [
            [what, str(value), *(f"{statistics.median(s):.3g} s" for s in (p.ours, p.peers)), f"{p.ratio:.3g}"]
            for what, points in grown.items()
            for value, p in points.items()
        ]
        print("\n".join("  " + "; ".join(row) for row in rows), flush=True)
        sections.append(GROWTH.format(table=table(["varied", "", "ours", "by hand", "ratio"], rows)))
    if "gpu" in wanted:
        rows = []
        for way, overrides in accelerator.WAYS.items():
            taken = accelerator.fit_seconds((*overrides, *images), 5)
            rows.append([way, f"{statistics.median(taken):.3g} s" if taken else "", "`" + " ".join(overrides) + "`"])
        sections.append(GPU.format(table=table(["way", "seconds", "overrides"], rows)))
    if arguments.only is None:
        growth.picture(grown, DOCS / "figures" / "benchmarks_growth.png")
        (DOCS / "benchmarks.md").write_text(HEAD.format(machine=machine()) + "\n\n".join(sections) + "\n")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
