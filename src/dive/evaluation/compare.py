"""Runs side by side: what differs in their configuration, how they came about, and what came out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dive.config.naming import MANIFEST
from dive.errors import RunError
from dive.evaluation.equality import strip_timing_metrics
from dive.evaluation.plots import overlay_curves
from dive.evaluation.run_context import run_context
from dive.runs.atomic_io import IMAGE_SUFFIXES, check_writable
from dive.runs.metrics_csv import read_partial_metrics
from dive.runs.record import comparable_config, flatten, load_config, load_result_or_partial
from dive.sweeps.manifest import read_manifest
from dive.sweeps.results_table import format_cell

NONE = "(none)"
WIDEST = 18  # characters of a column on the terminal: longer texts are folded
PLAIN = ("status", "error", "best_epoch", "epochs", "steps", "seconds", "samples_per_second")

Row = list[str]


@dataclass(frozen=True)
class Comparison:
    """Rows by key, a text a run.

    Args:
        names: of the runs, short.
        configuration: keys of which not all runs have the same value.
        circumstances: likewise, of code, versions, machine, threads and data, as far as runs have recorded them.
        results: status, counts, and best and final metrics, whether they differ or not.
    """

    names: list[str]
    configuration: dict[str, Row]
    run_context: dict[str, Row]
    results: dict[str, Row]

    def tables(self, width: int) -> Iterator[Table]:
        """All of it for a terminal, as many runs beside each other as fit.

        Args:
            width: of the terminal, in characters.
        """
        sections = {
            "configuration": self.configuration,
            "code and machine": self.run_context,
            "result": self.results,
        }
        keys = max((len(key) for section in sections.values() for key in section), default=0)
        texts = [*self.names, *(text for section in sections.values() for row in section.values() for text in row)]
        column = min(WIDEST, max(map(len, texts))) + 3
        fit = max(1, (width - keys - 4) // column)
        for start in range(0, len(self.names), fit):
            part = slice(start, start + fit)
            table = Table("", *self.names[part])
            for place, shown in enumerate(table.columns):
                shown.overflow, shown.max_width = "fold", WIDEST if place else None
            for title, section in sections.items():
                table.add_section()
                for key, row in section.items():
                    table.add_row(key, *row[part])
                if not section:
                    table.add_row(f"{title}: the same")
            yield table


def find_runs(directories: Sequence[Path]) -> dict[str, Path]:
    """Runs by short names; a sweep's directory stands for its jobs.

    Args:
        directories: of runs and sweeps; one that is named twice counts once.

    Raises:
        RunError: one of them is neither, or there are fewer than two runs.
    """
    found: dict[Path, None] = {}
    for directory in directories:
        if (directory / MANIFEST).is_file():
            found |= dict.fromkeys(directory / name for name in read_manifest(directory)["jobs"])
        elif (directory / "config.yaml").is_file():
            found[directory] = None
        else:
            raise RunError(f"{directory}: there is no run, and no sweep: it has no config.yaml and no {MANIFEST}")
    if len(found) < 2:
        raise RunError(f"compares at least two runs, got {len(found)}")
    return dict(zip(short_labels(list(found)), found, strict=True))


def short_labels(paths: Sequence[Path]) -> list[str]:
    """The last parts of paths, as many as tell them from each other.

    >>> short_labels([Path("a/lr/seed=0"), Path("b/lr/seed=0"), Path("b/lr/seed=1")])
    ['a/lr/seed=0', 'b/lr/seed=0', 'b/lr/seed=1']
    """
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def compare(chosen: Mapping[str, Path]) -> Comparison:
    """Put runs side by side.

    Args:
        chosen: directories by name; what a run has not recorded is ``(none)``.
    """
    directories = list(chosen.values())
    configs = [dict(flatten(comparable_config(load_config(run) or {}))) for run in directories]
    outcomes = [_outcome(run) for run in directories]
    return Comparison(
        names=list(chosen),
        configuration=_differing(_rows(configs)),
        run_context=_differing(_rows([run_context(run) for run in directories]), known=True),
        results=dict(sorted(_rows(outcomes).items(), key=_place)),
    )


def _place(row: tuple[str, Row]) -> tuple[int, str]:
    return (PLAIN.index(row[0]), "") if row[0] in PLAIN else (len(PLAIN), row[0])


def _outcome(run: Path) -> dict[str, Any]:
    result = {"metrics": read_partial_metrics(run)} | load_result_or_partial(run)
    told = {name: result[name] for name in PLAIN if result.get(name) is not None} | strip_timing_metrics(result)
    return {name: format_cell(value) for name, value in told.items()}


def _rows(records: Sequence[Mapping[str, Any]]) -> dict[str, Row]:
    keys = dict.fromkeys(key for record in records for key in record)
    return {key: [_text(record[key]) if key in record else NONE for record in records] for key in keys}


def _differing(rows: Mapping[str, Row], known: bool = False) -> dict[str, Row]:
    # What a run has not recorded says nothing of what it was: an unfinished one has no digest of its data.
    return {key: row for key, row in rows.items() if len(set(row) - ({NONE} if known else set())) > 1}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def compare_and_plot(directories: Sequence[Path], picture: Path) -> None:
    """Print runs side by side, in tables that fit the terminal, and draw their curves.

    Args:
        directories: of runs and sweeps.
        picture: the file to draw into.

    Raises:
        RunError: there are fewer than two runs, or the picture cannot be written there.
    """
    check_writable(picture, IMAGE_SUFFIXES)
    chosen = find_runs(directories)
    comparison = compare(chosen)
    console = Console(highlight=False, markup=False)
    for table in comparison.tables(console.width):
        console.print(table)
    if figure := overlay_curves(chosen):
        figure.savefig(picture, dpi=120)
        console.print(f"curves: {picture}", soft_wrap=True)
    else:
        console.print("no curves: none of these runs has come to the end of an epoch")
