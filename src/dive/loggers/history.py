"""Every metric of a run as a table, and the learning curves as a picture."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from dive.loggers.base import MetricsLogger, shortest_decimals
from dive.runs import metrics_csv
from dive.runs.csv_io import Row
from dive.runs.metrics_csv import read_metrics, write_metrics
from dive.runs.signals import shield_from_interrupt

SAVE_INTERVAL_S = 1.0  # seconds from one table to the next, while it grows


class MetricsHistoryLogger(MetricsLogger):
    """Gathers what is logged into one row a step: ``metrics.csv`` while it runs, ``curves.png`` at the end.

    The table is written once a second at most, before each checkpoint (see `dive.callbacks.ExactResume`),
    and at the end.

    Args:
        save_dir: the run's directory.

    Attributes:
        rows: by step, each metric logged at it.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.folder = Path(save_dir)
        self.rows: dict[int, Row] = read_metrics(self.folder / "metrics.csv")
        self._saved = -SAVE_INTERVAL_S
        self._drawn: dict[int, Row] | None = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of a step."""
        self.rows.setdefault(step or 0, {}).update(shortest_decimals(metrics))
        if time.monotonic() - self._saved >= SAVE_INTERVAL_S:
            self.save()

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Forget what was logged after a checkpoint: it is going to be logged again."""
        self.rows = {logged: row for logged, row in self.rows.items() if logged < step}

    @rank_zero_only
    def save(self) -> None:
        """Write the table, replacing the one before as a whole."""
        write_metrics(self.rows, self.folder / "metrics.csv")
        self._saved = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table and draw the curves, unless that is done: a test adds no point to them."""
        self.save()
        curves = {step: dict(row) for step, row in self.rows.items() if "train/loss" in row}
        if curves == self._drawn:
            return
        # Half an import of matplotlib could not be followed by a whole one, when a run that is stopped ends.
        with shield_from_interrupt():
            plot_curves(self.rows, self.folder / "curves.png")
        self._drawn = curves

    def final(self) -> Row:
        """The last value of each metric."""
        return metrics_csv.final_metrics(self.rows)

    def best(self, metric: str, mode: str = "auto") -> Row:
        """The row of the epoch in which a metric was best; empty where it was never logged."""
        return metrics_csv.best_metrics(self.rows, metric, mode)


def plot_curves(rows: Mapping[int, Row], path: Path) -> None:
    """Draw train and validation curves, one panel a metric, over epochs.

    Args:
        rows: by step; those without an ``epoch`` are left out.
        path: of the picture.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only at the end

    epochs = [row for _, row in sorted(rows.items()) if "epoch" in row]
    kinds = [kind for kind in ("loss", "acc") if any(f"train/{kind}" in row for row in epochs)]
    if not kinds:
        return
    figure = Figure(figsize=(4.5 * len(kinds), 3.5), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        shown: list[float] = []
        for split, style in (("train", "-"), ("val", "--")):
            curve = {row["epoch"] + 1: row[f"{split}/{kind}"] for row in epochs if f"{split}/{kind}" in row}
            axes.plot(curve.keys(), curve.values(), style, marker=".", label=f"{split}/{kind}")
            shown += curve.values()
        steep = kind == "loss" and min(shown) > 0 and max(shown) > 10 * min(shown)
        axes.set(xlabel="epoch", ylabel=kind, yscale="log" if steep else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
