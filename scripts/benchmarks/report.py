"""Format benchmark results as lines, as Markdown tables, and as docs/benchmarks.md."""

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
FIGURE = ROOT / "docs" / "figures" / "benchmarks_growth.png"
# Sections whose table is also shown on another page, between <!-- bench --> and <!-- /bench -->.
EMBEDDED = {
    "One epoch": "README.md",
    "Operations of the book": "docs/linear_regression.md",
}
HEADER = ["what", "compared with", "dive", "baseline", "ratio", "quartiles (pairs)", "bound"]
DOCUMENT = """# Benchmarks

Written by `make bench`. dive runs with all its defaults: TensorBoard, checkpoints, metrics.csv, accuracy and the
NaN check. The two sides of a row run alternately, in pairs, and the ratio of dive to the baseline is the median
over the pairs. Timings are noisy, so a comparison that appears in two tables has two slightly different ratios. A
ratio must not exceed its bound. An empty cell was not measured: a device or a package is missing, or it failed.

Measured on {machine}.

{sections}
"""


@dataclass
class Row:
    """One comparison. The ratio of dive to the baseline must not exceed `bound`; `pairs` is None if unmeasured."""

    name: str
    baseline: str
    pairs: PairedTimings | None
    bound: float | None = None
    unit: str = "s"

    @property
    def met(self) -> bool:
        """Whether the bound is met."""
        return self.pairs is None or self.bound is None or self.pairs.ratio <= self.bound

    @property
    def cells(self) -> list[str]:
        """The cells of the table row, in the order of `HEADER`."""
        if self.pairs is None:
            return [self.name, self.baseline, "", "", "", "", ""]
        dive, baseline = (
            f"{statistics.median(side):.3g} {self.unit}" for side in (self.pairs.dive, self.pairs.baseline)
        )
        low, high = self.pairs.spread
        bound = "" if self.bound is None else f"{self.bound:.2f}: {'met' if self.met else 'NOT MET'}"
        spread = f"{low:.3g} to {high:.3g} ({len(self.pairs.dive)})"
        return [self.name, self.baseline, dive, baseline, f"{self.pairs.ratio:.3g}", spread, bound]

    def __str__(self) -> str:
        return "  " + "; ".join(cell for cell in self.cells if cell)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def write_report(sections: Sequence[str]) -> None:
    """Write docs/benchmarks.md, and update the tables embedded in other pages."""
    text = DOCUMENT.format(machine=machine(), sections="\n\n".join(sections))
    (ROOT / "docs" / "benchmarks.md").write_text(text)
    for title, name in EMBEDDED.items():
        (content,) = (text.partition("\n\n")[2] for text in sections if text.startswith(f"## {title}\n"))
        block = rf"\g<1>{content}\n\nMeasured on {machine()}.\n\g<2>"
        page = ROOT / name
        page.write_text(re.sub(r"(?s)(<!-- bench -->\n).*?(<!-- /bench -->)", block, page.read_text()))


def previous_section(title: str) -> str:
    """The section of docs/benchmarks.md as it is, or an empty string."""
    path = ROOT / "docs" / "benchmarks.md"
    _, heading, content = (path.read_text() if path.exists() else "").partition(f"## {title}\n")
    return (heading + content.partition("\n## ")[0]).rstrip("\n")


def machine() -> str:
    """Describe processor, GPU and versions."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads, {device}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, Lightning {pytorch_lightning.__version__}"
    )
