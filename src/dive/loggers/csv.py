"""The table that Lightning's CSVLogger writes, for whatever reads that."""

import os
from collections.abc import Mapping
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from dive.loggers.base import MetricsLogger
from dive.runs.csv_io import read_csv, write_csv

COUNTS = ("step", "epoch")


class CSVLogger(MetricsLogger):
    """``csv/metrics.csv``: a row for each call, columns in the order of the alphabet.

    `dive.loggers.MetricsHistoryLogger` has a row for each step. Other than Lightning's own, this goes on with the table of a
    run that goes on; it is written before each checkpoint (see `dive.callbacks.ExactResume`) and at the end.

    Args:
        save_dir: the run's directory.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(save_dir) / "csv" / "metrics.csv"
        self.rows = [
            {name: int(value) if name in COUNTS else value for name, value in row.items()}
            for row in read_csv(self.path)
        ]

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a row."""
        self.rows.append({**metrics, "step": len(self.rows) if step is None else step})

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Forget what was logged after a checkpoint: it is going to be logged again."""
        self.rows = [row for row in self.rows if row["step"] < step]

    @rank_zero_only
    def save(self) -> None:
        """Write the table, replacing the one before as a whole."""
        if self.rows:
            self.path.parent.mkdir(exist_ok=True)
            write_csv(self.path, sorted({name for row in self.rows for name in row}), self.rows)

    def finalize(self, status: str) -> None:
        """Write the table."""
        self.save()
