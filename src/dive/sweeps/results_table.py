"""The jobs of a sweep as a table: their parameters and their results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dive.config.naming import MANIFEST
from dive.errors import RunError
from dive.runs.lock import is_locked
from dive.runs.metrics_csv import read_partial_metrics
from dive.sweeps.job_record import data_source, data_version, load_job, quote_shell
from dive.sweeps.manifest import read_manifest
from dive.sweeps.parameters import job_parameters

SEED = "seed"
METRICS = ("best", "final")
DATA_CHANGED = (
    "jobs were trained on different versions of their data (column data version): do not compare their scores"
)
FAILED = ("failed", "killed", "damaged")
COLUMNS = ("others", "data version", "status", "monitor", "score", "best epoch", "seconds", "error", "command")


@dataclass(frozen=True)
class SweepTable:
    """All jobs of a sweep, best first; jobs without a score come last.

    Attributes:
        directory: sweep directory.
        varied: the keys that vary, each a column of `jobs`.
        monitor: metric that scores the jobs; None if no job has a result, or jobs monitor different metrics.
        mode: mode of that metric: ``"min"`` or ``"max"``.
        data_changed: whether jobs with the same data configuration were trained on different data.
        jobs: one row per job, with the columns ``job``, the varied keys, ``others`` (further overrides),
            ``data version`` (checksum of the data), ``status``, ``monitor``, ``score``, each metric as
            ``best val/acc`` and ``final val/acc``, ``best epoch``, ``seconds``, ``error``, ``command``.
    """

    directory: Path
    varied: list[str]
    monitor: str | None
    mode: str
    jobs: pd.DataFrame
    data_changed: bool = False

    @property
    def finished(self) -> pd.DataFrame:
        """Jobs that have a score."""
        return self.jobs[self.jobs["score"].notna()]

    @property
    def best(self) -> pd.Series | None:
        """The job with the best score; None if there is none, or jobs monitor different metrics."""
        return self.finished.iloc[0] if self.monitor and len(self.finished) else None

    @property
    def failed(self) -> pd.DataFrame:
        """Jobs that raised an error, were killed, or whose record is damaged."""
        return self.jobs[self.jobs["status"].isin(FAILED)]

    @property
    def unfinished(self) -> int:
        """Number of jobs that are interrupted, running or not started."""
        return int((~self.jobs["status"].isin(["finished", *FAILED])).sum())

    def mean_over_seeds(self) -> pd.DataFrame:
        """Mean, standard deviation and number of scores of jobs that differ only in their seed, best first."""
        keys = [*(key for key in self.varied if key != SEED), *(["data version"] if self.data_changed else [])]
        scores = self.finished.assign(score=self.finished["score"].astype(float))
        grouped = scores.groupby(keys, sort=False) if keys else scores.groupby(lambda _: "all")
        table = grouped["score"].agg(["mean", "std", "count"]).rename(columns={"count": "n"})
        return table.sort_values("mean", ascending=self.mode == "min", kind="stable").reset_index()

    def summary(self) -> str:
        """The number of jobs by status: ``12 jobs: 10 finished, 2 failed``."""
        counts = self.jobs["status"].value_counts()
        return f"{len(self.jobs)} jobs: " + ", ".join(f"{count} {status}" for status, count in counts.items())

    def summary_columns(self) -> pd.DataFrame:
        """The main columns: job, varied keys, status, score, best epoch, seconds, and errors if there are any."""
        scores = ["monitor", "score"] if self.jobs["monitor"].nunique() > 1 else ["score"]
        data = ["data version"] if self.data_changed else []
        columns = ["job", *self.varied, *data, "status", *scores, "best epoch", "seconds"]
        return self.jobs[columns if self.jobs["error"].isna().all() else [*columns, "error"]]


def format_cell(cell: Any) -> str:
    """Format a cell: numbers to four significant digits, missing values as an empty string.

    >>> format_cell(0.123456), format_cell(26841.03), format_cell("finished"), format_cell(float("nan"))
    ('0.1235', '26841', 'finished', '')
    """
    if pd.isna(cell):
        return ""
    if isinstance(cell, float):
        return f"{cell:.4g}" if abs(cell) < 10_000 else f"{cell:.0f}"
    return str(cell)


def load_table(directory: Path) -> SweepTable:
    """Load the table of a sweep, finished or running, from its directory.

    Raises:
        RunError: the directory is not a sweep directory.
    """
    if not (directory / MANIFEST).is_file():
        raise RunError(f"{directory} is not a sweep directory: {directory / MANIFEST} does not exist")
    manifest = read_manifest(directory)
    overrides = {name: job["overrides"] for name, job in manifest["jobs"].items()}
    parameters, varied = job_parameters(directory, overrides, manifest["varied"])
    running = is_locked(directory)
    rows, monitored = [], set()
    versions: dict[str, set[str]] = {}
    for name, words in overrides.items():
        config, result = load_job(directory / name)
        if "monitor" in result:
            monitored.add((result["monitor"], result["mode"]))
        if (version := data_version(result)) is not None:
            versions.setdefault(data_source(config), set()).add(version)
        if result["status"] == "running" and not running:
            result = {"status": "interrupted"}
        metrics = result.get("metrics") or read_partial_metrics(directory / name)
        others = [word for word in words if word.partition("=")[0].lstrip("+~") not in (*varied, SEED)]
        rows.append(
            {
                "job": name,
                **{key: parameters[name][key] for key in varied},
                "others": " ".join(others),
                "data version": version,
                "status": result["status"],
                "monitor": result.get("monitor"),
                "score": result.get("score"),
                **{f"{which} {key}": value for which in METRICS for key, value in metrics.get(which, {}).items()},
                "best epoch": result.get("best_epoch"),
                "seconds": result.get("seconds"),
                "error": result.get("error"),
                "command": " ".join(["python", "train.py", *map(quote_shell, words)]),
            }
        )
    # Scores of different metrics cannot be ranked.
    monitor, mode = next(iter(monitored)) if len(monitored) == 1 else (None, "max")
    jobs = pd.DataFrame(rows, columns=None if rows else ["job", *varied, *COLUMNS])
    jobs["best epoch"] = jobs["best epoch"].astype("Int64")
    order = jobs["score"].sort_values(ascending=mode == "min", kind="stable", na_position="last").index
    changed = any(len(group) > 1 for group in versions.values())
    return SweepTable(directory, varied, monitor, mode, jobs.loc[order].reset_index(drop=True), changed)
