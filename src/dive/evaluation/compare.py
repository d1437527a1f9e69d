"""Compare runs: differences in configuration, code and machine, and the results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dive.config.naming import MANIFEST
from dive.errors import RunError, printable
from dive.evaluation.equality import strip_timing_metrics
from dive.evaluation.plots import overlay_curves
from dive.evaluation.run_context import run_context
from dive.runs.atomic_io import IMAGE_SUFFIXES, check_writable
from dive.runs.metrics_csv import read_partial_metrics
from dive.runs.record import comparable_config, flatten, load_config, load_result_or_partial
from dive.sweeps.manifest import read_manifest
from dive.sweeps.results_table import format_cell

NONE = "(none)"
MAX_COLUMN_WIDTH = 18  # characters; longer texts are folded
RESULT_KEYS = ("status", "error", "best_epoch", "epochs", "steps", "seconds", "samples_per_second")

Row = list[str]


@dataclass(frozen=True)
class Comparison:
    """Rows by key, each with one text per run.

    Args:
        names: short names of the runs.
        configuration: keys whose values differ between runs.
        run_context: code, versions, machine, threads and data that differ, as far as runs have recorded them.
        results: status, counts, best and final metrics, whether they differ or not.
    """

    names: list[str]
    configuration: dict[str, Row]
    run_context: dict[str, Row]
    results: dict[str, Row]

    def tables(self, width: int) -> Iterator[Table]:
        """Tables for a terminal of the given width, each with as many runs side by side as fit."""
        sections = {
            "configuration": self.configuration,
            "code and machine": self.run_context,
            "result": self.results,
        }
        key_width = max((len(key) for section in sections.values() for key in section), default=0)
        cells = [*self.names, *(cell for section in sections.values() for row in section.values() for cell in row)]
        column_width = min(MAX_COLUMN_WIDTH, max(map(len, cells))) + 3
        num_columns = max(1, (width - key_width - 4) // column_width)
        for start in range(0, len(self.names), num_columns):
            runs = slice(start, start + num_columns)
            table = Table("", *self.names[runs])
            for i, column in enumerate(table.columns):
                column.overflow, column.max_width = "fold", MAX_COLUMN_WIDTH if i else None
            for title, section in sections.items():
                table.add_section()
                for key, row in section.items():
                    table.add_row(key, *row[runs])
                if not section:
                    table.add_row(f"{title}: the same")
            yield table


def find_runs(directories: Sequence[Path]) -> dict[str, Path]:
    """Return run directories by short name; sweeps are replaced by their jobs, and duplicates dropped.

    Raises:
        RunError: one of them is neither a run nor a sweep, or there are fewer than two runs.
    """
    runs: dict[Path, None] = {}
    for directory in directories:
        if (directory / MANIFEST).is_file():
            runs |= dict.fromkeys(directory / name for name in read_manifest(directory)["jobs"])
        elif (directory / "config.yaml").is_file():
            runs[directory] = None
        else:
            raise RunError(f"{directory}: neither a run nor a sweep: it has no config.yaml and no {MANIFEST}")
    if len(runs) < 2:
        raise RunError(f"at least two runs are required, got {len(runs)}")
    return dict(zip(short_labels(list(runs)), runs, strict=True))


def short_labels(paths: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as are needed to make them unique.

    >>> short_labels([Path("a/lr/seed=0"), Path("b/lr/seed=0"), Path("b/lr/seed=1")])
    ['a/lr/seed=0', 'b/lr/seed=0', 'b/lr/seed=1']
    """
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(labels)) == len(labels):
            break
    return labels


def compare(runs: Mapping[str, Path]) -> Comparison:
    """Compare runs, given as directories by name; values that a run has not recorded are ``(none)``."""
    directories = list(runs.values())
    configs = [dict(flatten(comparable_config(load_config(run) or {}))) for run in directories]
    results = _rows([_results(run) for run in directories])
    return Comparison(
        names=list(runs),
        configuration=_differing(_rows(configs)),
        run_context=_differing(_rows([run_context(run) for run in directories]), ignore_missing=True),
        results={
            key: results[key] for key in (*RESULT_KEYS, *sorted(results.keys() - RESULT_KEYS)) if key in results
        },
    )


def _results(run: Path) -> dict[str, str]:
    result = {"metrics": read_partial_metrics(run)} | load_result_or_partial(run)
    values = {key: result[key] for key in RESULT_KEYS if result.get(key) is not None}
    return {key: format_cell(value) for key, value in (values | strip_timing_metrics(result)).items()}


def _rows(records: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
    keys = dict.fromkeys(key for record in records for key in record)
    return {key: [_to_text(record[key]) if key in record else NONE for record in records] for key in keys}


def _differing(rows: Mapping[str, Row], ignore_missing: bool = False) -> dict[str, Row]:
    # In the run context a missing value is not a difference: an unfinished run has no checksums of its data.
    return {key: row for key, row in rows.items() if len(set(row) - ({NONE} if ignore_missing else set())) > 1}


def _to_text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, default=str))


def compare_and_plot(directories: Sequence[Path], picture: Path) -> None:
    """Print a comparison of runs and sweeps, and plot their learning curves to an image file.

    Raises:
        RunError: there are fewer than two runs, or the image file cannot be written.
    """
    check_writable(picture, IMAGE_SUFFIXES)
    runs = find_runs(directories)
    console = Console(highlight=False, markup=False)
    for table in compare(runs).tables(console.width):
        console.print(table)
    if figure := overlay_curves(runs):
        figure.savefig(picture, dpi=120)
        console.print(f"curves: {picture}", soft_wrap=True)
    else:
        console.print("no curves: none of these runs has completed an epoch")
