"""The report of a sweep: on the terminal, as CSV, Markdown and HTML files, and in TensorBoard."""

import re
from collections.abc import Collection
from dataclasses import replace
from html import escape
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from dive.runs.atomic_io import atomic_write
from dive.sweeps import tensorboard_hparams
from dive.sweeps.html_report import render_html
from dive.sweeps.results_table import DATA_CHANGED, SweepTable, format_cell, load_table

MAX_ROWS = 20  # on the terminal; the files list all jobs


def write_report(directory: Path) -> SweepTable:
    """Write the report files into a sweep directory, and return the table.

    Raises:
        RunError: the directory is not a sweep directory.
    """
    table = load_table(directory)
    atomic_write(directory / "report.csv", table.jobs.to_csv(index=False))
    atomic_write(directory / "report.md", markdown(table))
    atomic_write(directory / "report.html", render_html(table))
    tensorboard_hparams.write_hparams(table)
    return table


def markdown(table: SweepTable) -> str:
    """Format the report as Markdown."""
    parts = [
        f"# Sweep {escape_markdown(table.directory.name)}",
        table.summary(),
        *([DATA_CHANGED] if table.data_changed else []),
    ]
    if table.best is not None:
        parts += [
            f"Best {escape_markdown(str(table.monitor))}: {table.best['score']:.4g}",
            code_block(table.best["command"]),
        ]
    if len(table.finished):
        parts += ["## Mean over seeds", _markdown_table(table.mean_over_seeds())]
    parts += ["## Jobs", _markdown_table(table.summary_columns())]
    if len(table.failed):
        parts += ["## Rerun a failed job", code_block(table.failed.iloc[0]["command"])]
    return "\n\n".join(parts) + "\n"


def _markdown_table(frame: pd.DataFrame) -> str:
    cells = frame.map(lambda cell: escape_markdown(format_cell(cell)))
    rows = [
        [escape_markdown(name) for name in cells.columns],
        ["---"] * len(cells.columns),
        *cells.to_numpy().tolist(),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escape_markdown(text: str) -> str:
    r"""Escape what Markdown would read as a link, HTML, code, emphasis, or the end of a table cell.

    >>> escape_markdown("a|b <img> [x](y)\n")
    'a\\|b &lt;img&gt; \\[x\\](y) '
    """
    return re.sub(r"([\\`*\[\]|])", r"\\\1", escape(text, quote=False).replace("\n", " "))


def code_block(text: str) -> str:
    """Format text as an indented block of code, which no text can end."""
    return "\n".join(f"    {line}" for line in text.split("\n"))


def print_report(table: SweepTable, console: Console) -> None:
    """Print the table, the best job with its command, and the path of the HTML report."""
    columns = ["job", "error"] if table.varied else ["error"]  # errors are printed below the table
    cells = table.summary_columns().drop(columns=columns, errors="ignore").map(format_cell)
    grid = Table(title=table.summary(), title_justify="left")
    for column in cells.columns:
        # Folded, not truncated: truncated values would look alike.
        right = column in ("score", "best epoch", "seconds")
        grid.add_column(column, justify="right" if right else "left", overflow="fold")
    rows = cells.to_numpy().tolist()
    if len(rows) > MAX_ROWS:  # the best jobs and those without a score
        tail = min(len(rows) - len(table.finished), MAX_ROWS // 2)
        rows = [*rows[: MAX_ROWS - tail], ["..."] * len(cells.columns), *rows[len(rows) - tail :]]
    for row in rows:
        grid.add_row(*row)
    console.print(grid)
    if table.data_changed:
        console.print(f"warning: {DATA_CHANGED}")
    if table.best is not None:
        console.print(f"best {table.monitor} {table.best['score']:.4g}: {table.best['command']}")
    console.print(f"report: {table.directory / 'report.html'}")


def failure_summary(table: SweepTable, requested: Collection[str]) -> str:
    """List the failed ones of the `requested` jobs with their errors, and the command that reruns the first.

    Empty if all requested jobs finished.
    """
    table = replace(table, jobs=table.jobs[table.jobs["job"].isin(requested)])
    if not len(table.failed):
        return f"{table.unfinished} of {len(table.jobs)} jobs did not finish" if table.unfinished else ""
    lines = [f"{len(table.failed)} of {len(table.jobs)} jobs failed:"]
    for job, error in table.failed.head(MAX_ROWS)[["job", "error"]].to_numpy().tolist():
        lines.append(f"  {job}: {' '.join(str(error).split())}")
    if len(table.failed) > MAX_ROWS:
        lines.append(f"  and {len(table.failed) - MAX_ROWS} more, see {table.directory / 'report.md'}")
    return "\n".join([*lines, f"to rerun the first one: {table.failed.iloc[0]['command']}"])
