"""Comparisons as lines, as tables, and as docs/benchmarks.md."""

import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning
import torch

from benchmarks.paired_timing import PairedTimings

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "figures" / "benchmarks_growth.png"
SHOWN = {
    "One epoch": "README.md",
    "Single operations of the book": "docs/linear_regression.md",
}
HEAD = ["ours", "compared with", "ours", "theirs", "ratio", "quartiles (pairs)", "bound"]
DOCUMENT = """# Benchmarks

Written by `make bench`. Ours has everything on: TensorBoard, checkpoints, metrics.csv, accuracies, the NaN guard.
Both sides of a line ran in turn, pair by pair; the ratio, ours to theirs, is the median over pairs, since machines
are noisy: the same comparison in two of the tables differs by as much. A line with a bound must not be above it.
An empty cell was not measured: no such device, or package.

Measured on {machine}.

{sections}
"""


@dataclass
class Row:
    """One comparison. The ratio is ours to theirs, not to be above `bound`; without `pairs`, it was not made."""

    what: str
    peer: str
    pairs: PairedTimings | None
    bound: float | None = None
    unit: str = "s"

    @property
    def met(self) -> bool:
        """Whether its bound is."""
        return self.pairs is None or self.bound is None or self.pairs.ratio <= self.bound

    @property
    def cells(self) -> list[str]:
        """Of the table."""
        if self.pairs is None:
            return [self.what, self.peer, "", "", "", "", ""]
        ours, theirs = (
            f"{statistics.median(side):.3g} {self.unit}" for side in (self.pairs.ours, self.pairs.peers)
        )
        low, high = self.pairs.spread
        bound = "" if self.bound is None else f"{self.bound:.2f}: {'met' if self.met else 'NOT MET'}"
        spread = f"{low:.3g} to {high:.3g} ({len(self.pairs.ours)})"
        return [self.what, self.peer, ours, theirs, f"{self.pairs.ratio:.3g}", spread, bound]

    def __str__(self) -> str:
        return "  " + "; ".join(cell for cell in self.cells if cell)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


def write(sections: Sequence[str]) -> None:
    """Write docs/benchmarks.md, and where a page shows one of its tables, that too."""
    told = DOCUMENT.format(machine=machine(), sections="\n\n".join(sections))
    (ROOT / "docs" / "benchmarks.md").write_text(told)
    for section, name in SHOWN.items():
        (shown,) = (text.partition("\n\n")[2] for text in sections if text.startswith(f"## {section}\n"))
        block = rf"\g<1>{shown}\n\nMeasured on {machine()}.\n\g<2>"
        page = ROOT / name
        page.write_text(re.sub(r"(?s)(<!-- bench -->\n).*?(<!-- /bench -->)", block, page.read_text()))


def machine() -> str:
    """What this is measured on."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads, {device}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {pytorch_lightning.__version__}"
    )
