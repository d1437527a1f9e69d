"""The jobs of a sweep as a table: what was asked for, and what became of it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dive.config.naming import MANIFEST
from dive.errors import RunError
from dive.runs.lock import is_locked
from dive.runs.metrics_csv import read_partial_metrics
from dive.runs.record import load_result
from dive.sweeps.manifest import read_manifest
from dive.sweeps.parameters import job_parameters
from dive.tasks.metric_mode import metric_mode

SEED = "seed"
METRICS = ("best", "final")
COLUMNS = ("others", "status", "monitor", "score", "best epoch", "seconds", "error", "command")


@dataclass(frozen=True)
class SweepTable:
    """All jobs of a sweep, best first, failed and missing ones last.

    Attributes:
        directory: of the sweep.
        varied: the keys that vary, as columns of `jobs`.
        monitor: the metric by which jobs are scored; None where none has finished, or each has another.
        mode: ``"min"`` or ``"max"``: which scores are better.
        jobs: a row a job: ``job``, the varied keys, ``others`` that were typed, ``status``, ``monitor``,
            ``score``, ``best epoch``, each metric as ``best val/acc`` and ``final val/acc``, ``seconds``,
            ``error``, ``command``.
    """

    directory: Path
    varied: list[str]
    monitor: str | None
    mode: str
    jobs: pd.DataFrame

    @property
    def finished(self) -> pd.DataFrame:
        """Those that have a score."""
        return self.jobs[self.jobs["score"].notna()]

    @property
    def best(self) -> pd.Series | None:
        """The job with the best score; None where none has finished, or scores are of different metrics."""
        return self.finished.iloc[0] if self.monitor and len(self.finished) else None

    @property
    def failed(self) -> pd.DataFrame:
        """Those that ended without one: raised, or were killed."""
        return self.jobs[self.jobs["status"].isin(["failed", "killed"])]

    @property
    def unfinished(self) -> int:
        """How many have not ended: interrupted, running, or never begun."""
        return int((~self.jobs["status"].isin(["finished", "failed", "killed"])).sum())

    def mean_over_seeds(self) -> pd.DataFrame:
        """Mean, standard deviation and number of scores of jobs that differ in their seed alone, best first."""
        keys = [key for key in self.varied if key != SEED]
        scores = self.finished.assign(score=self.finished["score"].astype(float))
        grouped = scores.groupby(keys, sort=False) if keys else scores.groupby(lambda _: "all")
        table = grouped["score"].agg(["mean", "std", "count"]).rename(columns={"count": "n"})
        return table.sort_values("mean", ascending=self.mode == "min", kind="stable").reset_index()

    def summary(self) -> str:
        """How the sweep stands, in a line: ``12 jobs: 10 finished, 2 failed``."""
        counts = self.jobs["status"].value_counts()
        return f"{len(self.jobs)} jobs: " + ", ".join(f"{count} {status}" for status, count in counts.items())

    def summary_columns(self) -> pd.DataFrame:
        """The columns that fit a page: job, what varies, status, score, best epoch, seconds, and errors if any."""
        scored = ["monitor", "score"] if self.jobs["monitor"].nunique() > 1 else ["score"]
        columns = ["job", *self.varied, "status", *scored, "best epoch", "seconds"]
        return self.jobs[columns if self.jobs["error"].isna().all() else [*columns, "error"]]


def to_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is to be read, see `format_cell`."""
    return frame.map(format_cell)


def format_cell(cell: Any) -> str:
    """A cell as it is to be read: numbers to four digits, nothing for what is not there.

    >>> format_cell(0.123456), format_cell(26841.03), format_cell("finished"), format_cell(float("nan"))
    ('0.1235', '26841', 'finished', '')
    """
    if pd.isna(cell):
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 10_000 else f"{cell:.0f}"
    return str(cell)


def load_table(directory: Path) -> SweepTable:
    """The table of a sweep as its directory stands.

    Raises:
        RunError: there is no sweep.
    """
    if not (directory / MANIFEST).is_file():
        raise RunError(f"{directory} holds no sweep: {directory / MANIFEST} does not exist")
    record = read_manifest(directory)
    words = {name: job["overrides"] for name, job in record["jobs"].items()}
    settings, varied = job_parameters(directory, words, record["varied"])
    running = is_locked(directory)
    rows, monitored = [], []
    for name in words:
        result = load_result(directory / name)
        if "monitor" in result:
            monitored.append((result["monitor"], metric_mode(result["monitor"], result.get("mode", "auto"))))
        if result["status"] == "running" and not running:
            result = {"status": "interrupted"}
        rows.append(_row(directory / name, words[name], {key: settings[name][key] for key in varied}, result))
    # Scores of different metrics cannot be ranked.
    monitor, mode = monitored[0] if len(set(monitored)) == 1 else (None, "max")
    jobs = pd.DataFrame(rows, columns=None if rows else ["job", *varied, *COLUMNS])
    jobs["best epoch"] = jobs["best epoch"].astype("Int64")
    order = jobs["score"].sort_values(ascending=mode == "min", kind="stable", na_position="last").index
    return SweepTable(directory, varied, monitor, mode, jobs.loc[order].reset_index(drop=True))


def _row(
    directory: Path, words: Sequence[str], varied: Mapping[str, str], result: Mapping[str, Any]
) -> dict[str, Any]:
    metrics = result.get("metrics") or read_partial_metrics(directory)
    return {
        "job": directory.name,
        **varied,
        "others": " ".join(word for word in words if word.partition("=")[0].lstrip("+~") not in (*varied, SEED)),
        "status": result["status"],
        "monitor": result.get("monitor"),
        "score": result.get("score"),
        "best epoch": result.get("best_epoch"),
        **{f"{which} {name}": value for which in METRICS for name, value in metrics.get(which, {}).items()},
        "seconds": result.get("seconds"),
        "error": result.get("error"),
        "command": shlex.join(["python", "train.py", *words]),
    }
