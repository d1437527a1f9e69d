"""The jobs of a sweep as a table: what was asked for, and what became of it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dive.direction import direction
from dive.errors import RunError
from dive.locks import is_running
from dive.metrics_table import so_far
from dive.recorded import recorded_result
from dive.sweeps.asked import asked
from dive.sweeps.record import RECORD, read_record

SEED = "seed"
METRICS = ("best", "final")
COLUMNS = ("others", "status", "optimize", "score", "best epoch", "seconds", "error", "command")


@dataclass(frozen=True)
class SweepTable:
    """All jobs of a sweep, best first, failed and missing ones last.

    Attributes:
        directory: of the sweep.
        varied: the keys that vary, as columns of `jobs`.
        optimize: the metric by which jobs are scored; None where none has finished, or each has another.
        jobs: a row a job: ``job``, the varied keys, ``others`` that were typed, ``status``, ``optimize``,
            ``score``, ``best epoch``, each metric as ``best val/acc`` and ``final val/acc``, ``seconds``,
            ``error``, ``command``.
    """

    directory: Path
    varied: list[str]
    optimize: str | None
    jobs: pd.DataFrame

    @property
    def finished(self) -> pd.DataFrame:
        """Those that have a score."""
        return self.jobs[self.jobs["score"].notna()]

    @property
    def best(self) -> pd.Series | None:
        """The job with the best score; None where none has finished, or scores are of different metrics."""
        return self.finished.iloc[0] if self.optimize and len(self.finished) else None

    @property
    def failed(self) -> pd.DataFrame:
        """Those that ended without one: raised, or were killed."""
        return self.jobs[self.jobs["status"].isin(["failed", "killed"])]

    @property
    def open(self) -> int:
        """How many have not ended: interrupted, running, or never begun."""
        return int((~self.jobs["status"].isin(["finished", "failed", "killed"])).sum())

    def over_seeds(self) -> pd.DataFrame:
        """Mean, standard deviation and number of scores of jobs that differ in their seed alone, best first."""
        keys = [key for key in self.varied if key != SEED]
        scores = self.finished.assign(score=self.finished["score"].astype(float))
        grouped = scores.groupby(keys, sort=False) if keys else scores.groupby(lambda _: "all")
        table = grouped["score"].agg(["mean", "std", "count"]).rename(columns={"count": "n"})
        return table.sort_values("mean", ascending=self.lower_is_better, kind="stable").reset_index()

    def summary(self) -> str:
        """How the sweep stands, in a line: ``12 jobs: 10 finished, 2 failed``."""
        counts = self.jobs["status"].value_counts()
        return f"{len(self.jobs)} jobs: " + ", ".join(f"{count} {status}" for status, count in counts.items())

    def brief(self) -> pd.DataFrame:
        """The columns that fit a page: job, what varies, status, score, best epoch, seconds, and errors if any."""
        scored = ["optimize", "score"] if self.jobs["optimize"].nunique() > 1 else ["score"]
        columns = ["job", *self.varied, "status", *scored, "best epoch", "seconds"]
        return self.jobs[columns if self.jobs["error"].isna().all() else [*columns, "error"]]

    @property
    def lower_is_better(self) -> bool:
        """Whether scores should fall."""
        return self.optimize is not None and direction(self.optimize) == "min"


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as it is to be read, see `cell_text`."""
    return frame.map(cell_text)


def cell_text(cell: Any) -> str:
    """A cell as it is to be read: numbers to four digits, nothing for what is not there.

    >>> cell_text(0.123456), cell_text(26841.03), cell_text("finished"), cell_text(float("nan"))
    ('0.1235', '26841', 'finished', '')
    """
    if pd.isna(cell):
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 10_000 else f"{cell:.0f}"
    return str(cell)


def read(directory: Path) -> SweepTable:
    """The table of a sweep as its directory stands.

    Raises:
        RunError: there is no sweep.
    """
    if not (directory / RECORD).is_file():
        raise RunError(f"{directory} holds no sweep: {directory / RECORD} does not exist")
    record = read_record(directory)
    words = {name: job["words"] for name, job in record["jobs"].items()}
    settings, varied = asked(directory, words, record["varied"])
    running = is_running(directory)
    rows, optimized = [], []
    for name in words:
        result = recorded_result(directory / name)
        optimized.append(result.get("optimize"))
        if result["status"] == "running" and not running:
            result = {"status": "interrupted"}
        rows.append(_row(directory / name, words[name], {key: settings[name][key] for key in varied}, result))
    metrics = set(filter(None, optimized))
    optimize = metrics.pop() if len(metrics) == 1 else None
    jobs = pd.DataFrame(rows, columns=None if rows else ["job", *varied, *COLUMNS])
    jobs["best epoch"] = jobs["best epoch"].astype("Int64")
    table = SweepTable(directory, varied, optimize, jobs)
    order = jobs["score"].sort_values(ascending=table.lower_is_better, kind="stable", na_position="last").index
    return SweepTable(directory, varied, optimize, jobs.loc[order].reset_index(drop=True))


def _row(
    directory: Path, words: Sequence[str], varied: Mapping[str, str], result: Mapping[str, Any]
) -> dict[str, Any]:
    metrics = result.get("metrics") or so_far(directory)
    return {
        "job": directory.name,
        **varied,
        "others": " ".join(word for word in words if word.partition("=")[0].lstrip("+~") not in (*varied, SEED)),
        "status": result["status"],
        "optimize": result.get("optimize"),
        "score": result.get("score"),
        "best epoch": result.get("best_epoch"),
        **{f"{which} {name}": value for which in METRICS for name, value in metrics.get(which, {}).items()},
        "seconds": result.get("seconds"),
        "error": result.get("error"),
        "command": shlex.join(["python", "train.py", *words]),
    }
