"""The report of a sweep: on the terminal, in three files, and in TensorBoard."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from dive.runs.atomic_io import atomic_write
from dive.sweeps import tensorboard_hparams
from dive.sweeps.html_report import render_html
from dive.sweeps.results_table import SweepTable, load_table, to_text

MAX_ROWS = 20  # rows on the terminal; the files have them all


def write_report(directory: Path) -> SweepTable:
    """Write the report of a sweep into its directory, and return its table.

    Raises:
        RunError: there is no sweep.
    """
    table = load_table(directory)
    atomic_write(directory / "report.csv", table.jobs.to_csv(index=False))
    atomic_write(directory / "report.md", markdown(table))
    atomic_write(directory / "report.html", render_html(table))
    tensorboard_hparams.write_hparams(table)
    return table


def markdown(table: SweepTable) -> str:
    """The report as Markdown."""
    parts = [f"# Sweep {table.directory.name}", table.summary()]
    if table.best is not None:
        parts += [f"Best {table.monitor}: {table.best['score']:.4g} by", f"```\n{table.best['command']}\n```"]
    if len(table.finished):
        parts += ["## Over seeds", _markdown_table(table.mean_over_seeds())]
    parts += ["## Jobs", _markdown_table(table.summary_columns())]
    if len(table.failed):
        again = table.failed.iloc[0]["command"]
        parts += ["## To repeat a failed job", f"```\n{again}\n```"]
    return "\n\n".join(parts) + "\n"


def _markdown_table(frame: pd.DataFrame) -> str:
    cells = to_text(frame).map(lambda cell: cell.replace("|", "\\|").replace("\n", " "))
    rows = [list(cells.columns), ["---"] * len(cells.columns), *cells.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def print_report(table: SweepTable, console: Console) -> None:
    """Print the table, the best job with its command, and where the whole report lies."""
    cells = to_text(table.summary_columns()).drop(columns=["job"] if table.varied else [])
    cells = cells.drop(columns=["error"], errors="ignore")  # it is told below, where there is room
    drawn = Table(title=table.summary(), title_justify="left")
    for column in cells.columns:
        justify: Literal["left", "right"] = "right" if column in ("score", "best epoch", "seconds") else "left"
        drawn.add_column(column, justify=justify, overflow="fold")  # cut texts would look alike
    # The best, and the worst that happened: what lies between is in the files.
    rows = cells.to_numpy().tolist()
    failed = len(table.jobs) - len(table.finished)
    tail = min(failed, MAX_ROWS // 2)
    head = rows if len(rows) <= MAX_ROWS else rows[: MAX_ROWS - tail]
    for row in head:
        drawn.add_row(*row)
    if len(rows) > MAX_ROWS:
        drawn.add_row(*["..."] * len(cells.columns))
        for row in rows[len(rows) - tail :]:
            drawn.add_row(*row)
    console.print(drawn)
    if table.best is not None:
        console.print(f"best {table.monitor} {table.best['score']:.4g}: {table.best['command']}")
    console.print(f"report: {table.directory / 'report.html'}")


def failure_summary(table: SweepTable, asked: Collection[str] | None = None) -> str:
    """Which jobs failed, why, and the command that repeats the first; empty where all have finished.

    Args:
        table: of the sweep.
        asked: names of the jobs that count, where not all do: a sweep may hold others, of earlier commands.
    """
    if asked is not None:
        table = replace(table, jobs=table.jobs[table.jobs["job"].isin(asked)])
    if not len(table.failed):
        return f"{table.unfinished} of {len(table.jobs)} jobs have not finished" if table.unfinished else ""
    lines = [f"{len(table.failed)} of {len(table.jobs)} jobs failed:"]
    told = table.failed.head(MAX_ROWS)[["job", "error"]].to_numpy().tolist()
    lines += [f"  {job}: {' '.join(str(error).split())}" for job, error in told]
    if len(table.failed) > MAX_ROWS:
        lines.append(f"  and {len(table.failed) - MAX_ROWS} more, see {table.directory / 'report.md'}")
    return "\n".join([*lines, f"to repeat the first alone: {table.failed.iloc[0]['command']}"])
