"""Metrics in the layout of Lightning's CSVLogger."""

import os
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from dive.loggers.base import MetricsLogger
from dive.runs.csv_io import read_csv, write_csv


class CSVLogger(MetricsLogger):
    """Writes ``csv/metrics.csv``: one row per `log_metrics` call, columns in alphabetical order.

    `dive.loggers.MetricsHistoryLogger` has one row per step. Unlike Lightning's logger, this continues the table
    of a resumed run. It is written before each checkpoint (see `dive.callbacks.ExactResume`) and at the end.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(save_dir) / "csv" / "metrics.csv"
        self.rows = [
            {name: int(value) if name in ("step", "epoch") else value for name, value in row.items()}
            for row in read_csv(self.path)
            if "step" in row and all(row.get(name, 0.0).is_integer() for name in ("step", "epoch"))
        ]

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row."""
        self.rows.append({**metrics, "step": len(self.rows) if step is None else step})

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Drop the rows after a checkpoint: a resumed run logs them again."""
        self.rows = [row for row in self.rows if row["step"] < step]

    @rank_zero_only
    def save(self) -> None:
        """Write the table, atomically."""
        if self.rows:
            self.path.parent.mkdir(exist_ok=True)
            write_csv(self.path, sorted({name for row in self.rows for name in row}), self.rows)
