"""All metrics of a run as a table, and its learning curves as an image."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from dive.loggers.base import MetricsLogger, shortest_decimals
from dive.runs.csv_io import Row
from dive.runs.metrics_csv import epoch_positions, read_metrics, write_metrics
from dive.runs.signals import shield_from_interrupt

SAVE_INTERVAL_S = 1.0  # minimum seconds between two writes of the growing table


class MetricsHistoryLogger(MetricsLogger):
    """Writes ``metrics.csv``, one row per step, during training and ``curves.png`` at the end.

    The table is written at most once per second, before each checkpoint (see `dive.callbacks.ExactResume`), and at
    the end.

    Attributes:
        rows: the metrics of each step, by step.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.run_dir = Path(save_dir)
        self.rows: dict[int, Row] = read_metrics(self.run_dir / "metrics.csv")
        self._saved_at = -SAVE_INTERVAL_S
        self._plotted: dict[int, Row] | None = None

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to the row of a step."""
        self.rows.setdefault(step or 0, {}).update(shortest_decimals(metrics))
        if time.monotonic() - self._saved_at >= SAVE_INTERVAL_S:
            self.save()

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Drop the rows after a checkpoint: a resumed run logs them again."""
        self.rows = {logged: row for logged, row in self.rows.items() if logged < step}

    @rank_zero_only
    def save(self) -> None:
        """Write the table, atomically."""
        write_metrics(self.rows, self.run_dir / "metrics.csv")
        self._saved_at = time.monotonic()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the table and plot the curves, unless they are unchanged: testing adds no point to them."""
        self.save()
        curves = {step: dict(row) for step, row in self.rows.items() if "train/loss" in row}
        if curves != self._plotted:
            # An interrupted import of matplotlib would leave it half imported, and a second import would fail.
            with shield_from_interrupt():
                plot_curves(self.rows, self.run_dir / "curves.png")
            self._plotted = curves


def plot_curves(rows: Mapping[int, Row], path: Path) -> None:
    """Plot training and validation curves over epochs, one panel per metric; rows without an epoch are ignored."""
    from matplotlib.figure import Figure  # slow to import, and needed only at the end

    positions = epoch_positions(rows)
    metrics = [metric for metric in ("loss", "acc") if any(f"train/{metric}" in rows[step] for step in positions)]
    if not metrics:
        return
    figure = Figure(figsize=(4.5 * len(metrics), 3.5), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        values: list[float] = []
        for tag, style in ((f"train/{metric}", "-"), (f"val/{metric}", "--")):
            curve = {epoch: rows[step][tag] for step, epoch in positions.items() if tag in rows[step]}
            axes.plot(curve.keys(), curve.values(), style, marker=".", label=tag)
            values += curve.values()
        log_scale = metric == "loss" and min(values) > 0 and max(values) > 10 * min(values)
        axes.set(xlabel="epoch", ylabel=metric, yscale="log" if log_scale else "linear")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)
