"""The report of a sweep: terminal, CSV, Markdown, HTML and plots."""

import base64
import html
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from rich.console import Console

from dive.errors import RunError
from dive.sweeps import plots, report
from dive.sweeps.html_report import render_html
from dive.sweeps.results_table import SweepTable, load_table

SPECIAL_CHARACTERS = "ValueError: <script>alert('x')</script> | & \"y\"\nsecond line"
WIDE = 500


@pytest.fixture
def sweep(sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]) -> Path:
    """Five jobs over learning rates and seeds: three finished, one failed, one not started."""
    jobs = {}
    for lr, seed, score in ((0.1, 0, 0.5), (0.1, 1, 0.75), (0.3, 0, 0.875)):
        name = f"optimizer.lr={lr},seed={seed}"
        jobs[name] = [f"optimizer.lr={lr}", f"seed={seed}", "note='a b'"]
        fake_run(name, {"optimizer": {"lr": lr}, "seed": seed}, score=score, curve=[0.25, score])
    jobs["failed"] = ["optimizer.lr=0.3", "seed=1", "note='a b'"]
    fake_run("failed", {"optimizer": {"lr": 0.3}, "seed": 1}, status="failed", error=SPECIAL_CHARACTERS)
    jobs["pending"] = ["optimizer.lr=0.3", "seed=2", "note='a b'"]
    write_manifest(["optimizer.lr", "seed"], jobs)
    return sweep_dir


@pytest.fixture
def many(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> Callable[..., Path]:
    """Write a sweep over seeds with some failed jobs."""

    def write(finished: int, failed: int = 0, curve: bool = False) -> Path:
        for seed in range(finished):
            points = [0.0, seed / 100] if curve else ()
            fake_run(f"seed={seed}", {"seed": seed}, score=seed / 100, curve=points)
        for seed in range(finished, finished + failed):
            fake_run(f"seed={seed}", {"seed": seed}, status="failed", error=f"no {seed}")
        write_manifest(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(finished + failed)})
        return sweep_dir

    return write


def terminal_output(table: SweepTable) -> str:
    """The report as printed on a terminal."""
    file = io.StringIO()
    report.print_report(table, Console(file=file, width=WIDE, highlight=False, soft_wrap=True, markup=False))
    return file.getvalue()


COMMAND = """python train.py optimizer.lr=0.3 seed=0 'note='"'"'a b'"'"''"""
FAILED_COMMAND = """python train.py optimizer.lr=0.3 seed=1 'note='"'"'a b'"'"''"""


# The files.


def test_report_is_three_files_in_the_sweep_directory(sweep: Path) -> None:
    before = {path.name for path in sweep.iterdir()}
    table = report.write_report(sweep)
    assert len(table.jobs) == 5
    assert {path.name for path in sweep.iterdir()} - before - {".lock"} == {
        "report.csv",
        "report.md",
        "report.html",
    }


def test_report_is_overwritten(sweep: Path, fake_run: Callable[..., Path]) -> None:
    report.write_report(sweep)
    fake_run("pending", {"optimizer": {"lr": 0.3}, "seed": 2}, score=1.0)
    report.write_report(sweep)
    for name in ("report.csv", "report.md", "report.html"):
        text = (sweep / name).read_text()
        assert "not started," not in text
        assert "1 not started" not in text


def test_directory_that_is_not_a_sweep_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a sweep directory"):
        report.write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_sweep_that_has_not_started_has_a_report(sweep_dir: Path, write_manifest: Callable[..., None]) -> None:
    write_manifest(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(3)})
    table = report.write_report(sweep_dir)
    assert table.summary() == "3 jobs: 3 not started"
    assert "Best" not in (sweep_dir / "report.md").read_text() + (sweep_dir / "report.html").read_text()
    assert "3 not started" in terminal_output(table)


def test_sweep_without_varied_keys_has_a_report(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("default", {"seed": 0}, score=0.5)
    write_manifest([], {"default": []})
    table = report.write_report(sweep_dir)
    assert "default" in terminal_output(table)
    assert "best val/acc 0.5: python train.py\n" in terminal_output(table)


def test_report_of_different_monitored_metrics_has_no_best_job(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("task=a", {"task": "a"}, score=0.5, curve=[0.5], monitor="val/acc")
    fake_run("task=b", {"task": "b"}, score=0.25, curve=[0.25], monitor="val/loss")
    write_manifest(["task"], {"task=a": ["task=a"], "task=b": ["task=b"]})
    table = report.write_report(sweep_dir)
    for text in (
        terminal_output(table),
        (sweep_dir / "report.md").read_text(),
        (sweep_dir / "report.html").read_text(),
    ):
        assert "val/acc" in text
        assert "val/loss" in text
        assert not re.search("best val|best None", text, re.IGNORECASE)


# CSV.


def test_csv_has_all_columns_and_jobs(sweep: Path) -> None:
    table = report.write_report(sweep)
    frame = pd.read_csv(sweep / "report.csv")
    assert frame.columns.tolist() == table.jobs.columns.tolist()
    assert frame["job"].tolist() == [
        "optimizer.lr=0.3,seed=0",
        "optimizer.lr=0.1,seed=1",
        "optimizer.lr=0.1,seed=0",
        "failed",
        "pending",
    ]
    assert frame["optimizer.lr"].tolist() == [0.3, 0.1, 0.1, 0.3, 0.3]
    assert frame["seed"].tolist() == [0, 1, 0, 1, 2]
    assert frame["score"].tolist()[:3] == [0.875, 0.75, 0.5]
    assert frame["score"].isna().tolist() == [False, False, False, True, True]
    assert frame["final val/acc"].tolist()[:3] == [0.125] * 3
    assert frame["error"].tolist()[3] == SPECIAL_CHARACTERS
    assert frame["command"].tolist()[0] == COMMAND


# Markdown.


def cells(line: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def section(text: str, title: str) -> list[str]:
    return text.partition(f"## {title}\n\n")[2].partition("\n\n")[0].splitlines()


def test_markdown_has_best_job_mean_over_seeds_and_all_jobs(sweep: Path) -> None:
    text = report.markdown(load_table(sweep))
    assert text.startswith("# Sweep lr\n\n5 jobs: 3 finished, 1 failed, 1 not started\n\nBest val/acc: 0.875\n\n")
    assert f"\n\n    {COMMAND}\n\n" in text
    assert [cells(line) for line in section(text, "Mean over seeds")] == [
        ["optimizer.lr", "mean", "std", "n"],
        ["---"] * 4,
        ["0.3", "0.875", "", "1"],
        ["0.1", "0.625", "0.1768", "2"],  # 0.125 * sqrt(2)
    ]
    head, rule, *rows = [cells(line) for line in section(text, "Jobs")]
    assert head == ["job", "optimizer.lr", "seed", "status", "score", "best epoch", "seconds", "error"]
    assert rule == ["---"] * 8
    assert [(row[0], row[3], row[4]) for row in rows] == [
        ("optimizer.lr=0.3,seed=0", "finished", "0.875"),
        ("optimizer.lr=0.1,seed=1", "finished", "0.75"),
        ("optimizer.lr=0.1,seed=0", "finished", "0.5"),
        ("failed", "failed", ""),
        ("pending", "not started", ""),
    ]
    assert text.endswith(f"## Rerun a failed job\n\n    {FAILED_COMMAND}\n")


def test_pipes_and_newlines_in_cells_are_escaped_in_markdown(sweep: Path) -> None:
    (row,) = [line for line in section(report.markdown(load_table(sweep)), "Jobs") if "| failed |" in line]
    assert len(cells(row)) == 8
    assert cells(row)[-1] == report.escape_markdown(SPECIAL_CHARACTERS)
    rendered = html.unescape(re.sub(r"\\([\\`*\[\]|])", r"\1", cells(row)[-1]))
    assert rendered == SPECIAL_CHARACTERS.replace("\n", " ")


# HTML.


class Elements(HTMLParser):
    """All elements and texts of a page; asserts that elements are closed in order."""

    VOID = ("meta", "img")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: list[str] = []
        self.feed(text)
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect it."""
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Assert that it closes the last open element."""
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect it."""
        self.texts.append(data)


def test_html_has_no_external_resources(sweep: Path) -> None:
    text = render_html(load_table(sweep))
    elements = Elements(text)
    tags = {tag for tag, _ in elements.found}
    assert not tags & {"script", "link", "iframe", "object", "a"}
    sources = [
        value for _, attributes in elements.found for key, value in attributes.items() if key in ("src", "href")
    ]
    assert len(sources) == 2
    assert all(source is not None and source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"https?://|@import|url\(", text)


def test_text_from_jobs_is_escaped_in_html(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("a", {"seed": 0}, status="failed", error=SPECIAL_CHARACTERS)
    fake_run("b", {"seed": 1}, score=0.5, curve=[0.5])
    words = ["note=<img src=x onerror=alert(1)>", "model=</pre><script>alert(2)</script>", "<b>=1"]
    write_manifest(["note", "<b>"], {"a": words, "b": words})
    text = render_html(load_table(sweep_dir))
    elements = Elements(text)
    assert "script" not in {tag for tag, _ in elements.found}
    assert [attributes.get("alt") for tag, attributes in elements.found if tag == "img"] == [
        "Learning curves",
        "Scores",
    ]
    assert "b" not in [tag for tag, _ in elements.found][-10:]
    assert SPECIAL_CHARACTERS in elements.texts
    assert html.escape(SPECIAL_CHARACTERS) in text


def test_html_has_commands_of_best_and_failed_job(sweep: Path) -> None:
    elements = Elements(render_html(load_table(sweep)))
    assert COMMAND in elements.texts
    assert FAILED_COMMAND in elements.texts
    assert [
        attributes["class"] for tag, attributes in elements.found if tag == "tr" and attributes.get("class")
    ] == [
        *["finished"] * 3,
        "failed",
        "not-started",
    ]


def test_html_images_are_png(sweep: Path) -> None:
    for tag, attributes in Elements(render_html(load_table(sweep))).found:
        if tag == "img":
            png = base64.b64decode(str(attributes["src"]).partition(",")[2], validate=True)
            assert png.startswith(b"\x89PNG\r\n\x1a\n")
            assert len(png) > 2000


# Plots.


def axes(figure: Figure | None) -> list[Any]:
    assert figure is not None
    return figure.axes


def test_every_job_with_metrics_has_a_curve(sweep: Path) -> None:
    figure = plots.plot_curves(load_table(sweep))
    (ax,) = axes(figure)
    assert ax.get_ylabel() == "val/acc"
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    assert lines == {
        "optimizer.lr=0.3,seed=0": [[1, 0.25], [2, 0.875]],
        "optimizer.lr=0.1,seed=1": [[1, 0.25], [2, 0.75]],
        "optimizer.lr=0.1,seed=0": [[1, 0.25], [2, 0.5]],
    }
    # The best curve is drawn last, in front, and listed first.
    assert ax.get_lines()[-1].get_label() == "optimizer.lr=0.3,seed=0"
    assert figure is not None
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(reversed(lines))


@pytest.mark.parametrize("count", [plots.MAX_LEGEND_ENTRIES, plots.MAX_LEGEND_ENTRIES + 1, 40])
def test_with_many_jobs_only_the_best_curve_is_named(count: int, many: Callable[..., Path]) -> None:
    (ax,) = axes(plots.plot_curves(load_table(many(count, failed=2, curve=True))))
    collected = [path for part in ax.collections if isinstance(part, LineCollection) for path in part.get_paths()]
    assert len(ax.get_lines()) + len(collected) == count
    if count > plots.MAX_LEGEND_ENTRIES:
        (best,) = ax.get_lines()
        assert best.get_label() == f"best: seed={count - 1}"
        assert best.get_xydata().tolist() == [[1, 0], [2, (count - 1) / 100]]


def test_interrupted_job_has_a_curve(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5, curve=[0.5])
    fake_run("seed=1", {"seed": 1}, status=None, curve=[0.25, 0.75])
    write_manifest(["seed"], {"seed=0": ["seed=0"], "seed=1": ["seed=1"]})
    (ax,) = axes(plots.plot_curves(load_table(sweep_dir)))
    assert len(ax.get_lines()) == 2


def test_curve_starts_at_epoch_one_and_skips_rows_without_the_metric(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,val/acc,train/loss\n4,0.0,0.5,\n9,1.0,,2.5\n14,2.0,0.75,\n15,,0.9,\n19,3"
    )
    assert plots.read_curve(tmp_path, "val/acc").tolist() == [[1, 0.5], [3, 0.75]]
    assert plots.read_curve(tmp_path, "train/loss").tolist() == [[2, 2.5]]
    for directory, metric in ((tmp_path, "val/loss"), (tmp_path / "nowhere", "val/acc")):
        empty = plots.read_curve(directory, metric)
        assert isinstance(empty, np.ndarray)
        assert empty.shape == (0, 2)


def test_without_metrics_there_are_no_plots(many: Callable[..., Path]) -> None:
    table = load_table(many(0, failed=2))
    assert plots.plot_curves(table) is None
    assert plots.plot_scores(table) is None
    assert "<img" not in render_html(table)


def test_scores_are_plotted_against_each_varied_key_with_means(sweep: Path) -> None:
    (ax,) = axes(plots.plot_scores(load_table(sweep)))  # there is no panel for the seed
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("optimizer.lr", "val/acc")
    points, means = (line.get_xydata().tolist() for line in ax.get_lines())
    assert sorted(points) == [[0.1, 0.5], [0.1, 0.75], [0.3, 0.875]]
    assert means == [[0.1, 0.625], [0.3, 0.875]]


def test_scores_are_plotted_against_the_seed_if_only_it_varies(many: Callable[..., Path]) -> None:
    (ax,) = axes(plots.plot_scores(load_table(many(3))))
    assert ax.get_xlabel() == "seed"
    assert sorted(ax.get_lines()[0].get_xydata().tolist()) == [[0, 0], [1, 0.01], [2, 0.02]]


def test_strings_are_tick_labels_and_wide_ranges_have_a_log_scale(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    jobs = {}
    for i, (lr, model) in enumerate([("0.001", "softmax"), ("0.1", "mlp"), ("1", "a" * 60), ("10", "mlp")]):
        fake_run(str(i), {"i": i}, score=i / 8)
        jobs[str(i)] = [f"lr={lr}", f"model={model}", f"width={2 + i}", "a=0"]
    write_manifest(["lr", "model", "width", "a"], jobs)
    panels = axes(plots.plot_scores(load_table(sweep_dir)))[:4]
    assert [panel.get_xlabel() for panel in panels] == ["lr", "model", "width", "a"]
    assert [panel.get_xscale() for panel in panels] == ["log", "linear", "linear", "linear"]
    assert [tick.get_text() for tick in panels[1].get_xticklabels()] == [
        "a" * plots.MAX_TICK_LENGTH,
        "mlp",
        "softmax",
    ]
    assert sorted(panels[1].get_lines()[1].get_xydata().tolist()) == [[0, 0.25], [1, 0.25], [2, 0]]


# The terminal.


def test_terminal_lists_all_jobs_the_best_command_and_the_report_path(sweep: Path) -> None:
    table = report.write_report(sweep)
    lines = terminal_output(table).splitlines()
    assert lines[0].strip() == "5 jobs: 3 finished, 1 failed, 1 not started"
    rows = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if line.startswith(("│", "┃"))
    ]
    assert rows[0] == ["optimizer.lr", "seed", "status", "score", "best epoch", "seconds"]
    assert [row[:4] for row in rows[1:]] == [
        ["0.3", "0", "finished", "0.875"],
        ["0.1", "1", "finished", "0.75"],
        ["0.1", "0", "finished", "0.5"],
        ["0.3", "1", "failed", ""],
        ["0.3", "2", "not started", ""],
    ]
    assert lines[-2:] == [f"best val/acc 0.875: {COMMAND}", f"report: {sweep / 'report.html'}"]


@pytest.mark.parametrize(
    ("finished", "failed", "first", "last"), [(30, 0, 20, 0), (30, 3, 17, 3), (30, 15, 10, 10), (0, 30, 10, 10)]
)
def test_terminal_lists_best_and_failed_jobs_of_a_large_sweep(
    finished: int, failed: int, first: int, last: int, many: Callable[..., Path]
) -> None:
    lines = [
        line for line in terminal_output(load_table(many(finished, failed))).splitlines() if line.startswith("│")
    ]
    seeds = [line.split("│")[1].strip() for line in lines]
    ranked = [str(seed) for seed in (*reversed(range(finished)), *range(finished, finished + failed))]
    assert seeds == [*ranked[:first], "...", *(ranked[-last:] if last else [])]


def test_brackets_in_values_are_not_parsed_as_markup(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("a", {"seed": 0}, score=0.5)
    write_manifest(["h"], {"a": ["h=[red]"]})
    text = terminal_output(load_table(sweep_dir))
    assert "│ [red] │" in text
    assert "python train.py 'h=[red]'" in text


# Failure summary.


def failure_summary(directory: Path) -> str:
    table = load_table(directory)
    return report.failure_summary(table, set(table.jobs["job"]))


def test_no_failure_summary_if_all_jobs_finished(many: Callable[..., Path]) -> None:
    assert failure_summary(many(2)) == ""


def test_failure_summary_counts_unfinished_jobs(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5)
    fake_run("seed=1", {"seed": 1}, status="interrupted", error="exit code 143")
    write_manifest(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(3)})
    assert failure_summary(sweep_dir) == "2 of 3 jobs did not finish"


def test_failure_summary_lists_errors_and_the_command_of_the_first(many: Callable[..., Path]) -> None:
    assert failure_summary(many(2, failed=2)).splitlines() == [
        "2 of 4 jobs failed:",
        "  seed=2: no 2",
        "  seed=3: no 3",
        "to rerun the first one: python train.py seed=2",
    ]


def test_multi_line_error_is_joined_into_one_line(sweep: Path) -> None:
    lines = failure_summary(sweep).splitlines()
    assert lines[1:] == [
        "  failed: " + SPECIAL_CHARACTERS.replace("\n", " "),
        f"to rerun the first one: {FAILED_COMMAND}",
    ]


def test_failure_summary_is_limited(many: Callable[..., Path]) -> None:
    directory = many(0, failed=report.MAX_ROWS + 5)
    lines = failure_summary(directory).splitlines()
    assert lines[0] == "25 of 25 jobs failed:"
    assert len([line for line in lines if line.startswith("  seed=")]) == report.MAX_ROWS
    assert lines[-2] == f"  and 5 more, see {directory / 'report.md'}"


@pytest.mark.parametrize(
    ("key", "default", "typed"),
    [("h", [64, 64], "[8]"), ("optimizer", {"lr": 1}, "adam"), ("gone", None, "1"), ("root", "x", "${a}_${b}")],
)
def test_report_with_a_key_that_varies_later(
    key: str,
    default: Any,
    typed: str,
    sweep_dir: Path,
    fake_run: Callable[..., Path],
    write_manifest: Callable[..., None],
) -> None:
    fake_run("seed=0", {"seed": 0, key: default}, score=0.5)
    fake_run("b", {"seed": 0}, score=0.6)
    write_manifest(["seed", key], {"seed=0": ["seed=0"], "b": [f"{key}={typed}"]})
    table = report.write_report(sweep_dir)
    assert table.mean_over_seeds()["n"].sum() == 2


def test_sweep_without_jobs_has_a_report(sweep_dir: Path, write_manifest: Callable[..., None]) -> None:
    write_manifest(["seed"], {})
    report.write_report(sweep_dir)


def test_unused_panels_are_hidden(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("a", {"seed": 0}, score=0.5)
    write_manifest(list("abcd"), {"a": [f"{key}=1" for key in "abcd"]})
    figure = plots.plot_scores(load_table(sweep_dir))
    assert figure is not None
    assert sum(axes.axison for axes in figure.axes) == 4


def test_large_numbers_are_not_in_scientific_notation(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    run = fake_run("a", {"seed": 0}, score=0.5)
    result = json.loads((run / "result.json").read_text()) | {"seconds": 12345.6, "best_epoch": 12345}
    (run / "result.json").write_text(json.dumps(result))
    fake_run("b", {"seed": 1}, status="failed", error="no")
    write_manifest(["seed"], {"a": ["seed=0"], "b": ["seed=1"]})
    assert "e+0" not in report.markdown(load_table(sweep_dir))


def test_sweep_without_scores_has_a_report(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("a", {"seed": 0}, score=None)
    write_manifest(["seed"], {"a": ["seed=0"]})
    report.write_report(sweep_dir)
