"""Comparison of runs: differing keys, results and learning curves."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import yaml
from filelock import FileLock
from matplotlib.image import imread
from rich.console import Console

from dive.errors import RunError
from dive.evaluation.compare import Comparison, compare, find_runs, short_labels
from dive.evaluation.plots import overlay_curves
from dive.runs.lock import LOCK_FILE

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the files of a run: ``write("a/run", {"seed": 0}, val_loss=[0.5, 0.25])``."""

    def write_run(
        name: str,
        config: dict[str, Any],
        result: dict[str, Any] | None = None,
        environment: dict[str, Any] | None = None,
        diff: str = "",
        **curves: list[float],
    ) -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        if result is not None:
            (run / "result.json").write_text(json.dumps(result))
        if environment is not None:
            (run / "environment.json").write_text(json.dumps(environment))
            (run / "code.diff").write_text(diff)
        if curves:
            columns = [column.replace("_", "/") for column in curves]
            values = enumerate(zip(*curves.values(), strict=True))
            rows = [f"{step},{step},{','.join(map(str, row))}" for step, row in values]
            (run / "metrics.csv").write_text("\n".join([f"step,epoch,{','.join(columns)}", *rows, ""]))
        return run

    return write_run


def text(comparison: Comparison, width: int = 120) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    for table in comparison.tables(width):
        console.print(table)
    return console.export_text().splitlines()


def test_a_comparison_has_differing_keys_and_all_results(write: Write) -> None:
    one = write(
        "one",
        {"seed": 0, "optimizer": {"lr": 0.1, "momentum": 0.9}, "resume": "x", "data": {"resize": [28, 28]}},
        {
            "status": "finished",
            "seconds": 12.3456,
            "epochs": 3,
            "metrics": {"best": {"val/acc": 0.75}, "final": {}},
        },
    )
    other = write(
        "other",
        {"seed": 0, "optimizer": {"lr": 0.3, "momentum": 0.9}, "sweep": "y", "data": {"resize": None}},
        {
            "status": "finished",
            "seconds": 12345.678,
            "epochs": 3,
            "metrics": {"best": {"val/acc": 0.5, "train/samples_per_second": 3.0}, "final": {"val/loss": 0.25}},
        },
    )
    comparison = compare(find_runs([one, other]))
    assert comparison.names == ["one", "other"]
    assert comparison.configuration == {"optimizer.lr": ["0.1", "0.3"], "data.resize": ["[28, 28]", "null"]}
    assert comparison.results == {
        "status": ["finished", "finished"],
        "epochs": ["3", "3"],
        "seconds": ["12.35", "12346"],
        "best val/acc": ["0.75", "0.5"],
        "final val/loss": ["(none)", "0.25"],
    }
    assert next(iter(comparison.results)) == "status"
    assert comparison.run_context == {}


def test_values_of_different_types_differ(write: Write) -> None:
    comparison = compare(
        find_runs([write("a", {"x": None, "y": 1, "z": True}), write("b", {"y": 1.0, "z": "true"})])
    )
    assert comparison.configuration == {"x": ["null", "(none)"], "y": ["1", "1.0"]}


def test_differences_in_code_versions_and_machine_are_listed(write: Write) -> None:
    environment = {"git_revision": "0123456789", "pid": 1, "packages": {"torch": "2.0", "numpy": "1"}, "gpus": []}
    later = environment | {"pid": 2, "packages": {"torch": "2.1", "numpy": "1"}, "gpus": ["H200"]}
    one = write("a", {}, {"status": "finished", "data_crc32": {"train": "01"}}, environment, "some")
    other = write("b", {}, {"status": "finished", "data_crc32": {"train": "02"}}, later, "other")
    context = compare(find_runs([one, other])).run_context
    assert context.keys() == {"code", "packages.torch", "gpus", "data_crc32.train"}
    assert context["packages.torch"] == ["2.0", "2.1"]
    assert context["gpus"] == ["[]", '["H200"]']
    assert all(code.startswith("0123456 with changes (") for code in context["code"])
    assert context["code"][0] != context["code"][1]


def test_unrecorded_context_is_no_difference(write: Write) -> None:
    environment = {"git_revision": "0123456789", "packages": {"torch": "2.0"}}
    complete = write("a", {}, {"status": "finished", "data_crc32": {"train": "01"}}, environment)
    comparison = compare(find_runs([complete, write("b", {}, None, environment), write("c", {})]))
    assert comparison.run_context == {}
    other = write("d", {}, {"status": "finished", "data_crc32": {"train": "02"}}, environment)
    assert compare(find_runs([complete, write("e", {}), other])).run_context == {
        "data_crc32.train": ["01", "(none)", "02"]
    }


def test_failed_running_and_killed_runs_are_included(write: Write) -> None:
    failed = write("a", {"seed": 0}, {"status": "failed", "error": "ValueError: no", "seconds": 1.0})
    running, killed = write("b", {"seed": 1}), write("c", {"seed": 2})
    with FileLock(running / LOCK_FILE):
        comparison = compare(find_runs([failed, running, killed]))
    assert comparison.results["status"] == ["failed", "running", "interrupted"]
    assert comparison.results["error"] == ["ValueError: no", "(none)", "(none)"]
    assert overlay_curves(find_runs([failed, running, killed])) is None


def test_metrics_of_an_unfinished_run_are_read_from_its_curves(write: Write) -> None:
    config, result = {"monitor": "val/acc"}, {"status": "interrupted"}
    stopped = write("a", config, result, val_acc=[0.5, 0.75, 0.25], val_loss=[3.0, 2.0, 1.0])
    comparison = compare(find_runs([stopped, write("b", config)]))
    assert comparison.results["best val/acc"] == ["0.75", "(none)"]
    assert comparison.results["best val/loss"] == ["2", "(none)"]
    assert comparison.results["final val/acc"] == ["0.25", "(none)"]


def test_a_sweep_is_replaced_by_its_jobs(write: Write, tmp_path: Path) -> None:
    for seed in range(3):
        write(f"lr/seed={seed}", {"seed": seed}, {"status": "finished"})
    single = write("seed=0", {"seed": 0})
    jobs = {f"seed={seed}": {"number": seed, "overrides": [f"seed={seed}"]} for seed in range(4)}
    (tmp_path / "lr" / "sweep.json").write_text(json.dumps({"varied": ["seed"], "jobs": jobs}))
    comparison = compare(find_runs([tmp_path / "lr", single, single, tmp_path / "lr" / "seed=2"]))
    assert [name.removeprefix(f"{tmp_path.name}/") for name in comparison.names] == [
        *(f"lr/seed={seed}" for seed in range(4)),
        "seed=0",
    ]
    assert comparison.results["status"] == ["finished", "finished", "finished", "not started", "interrupted"]
    assert comparison.configuration == {"seed": ["0", "1", "2", "(none)", "0"]}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x", "a/y"], ["x", "y"]),
        (["a/x", "b/x"], ["a/x", "b/x"]),
        (["a/1/x", "b/1/x", "b/2/x"], ["a/1/x", "b/1/x", "b/2/x"]),
    ],
)
def test_labels_are_the_shortest_unique_ones(paths: list[str], names: list[str]) -> None:
    assert short_labels([Path(path) for path in paths]) == names


def test_invalid_selections_are_errors(write: Write, tmp_path: Path) -> None:
    run = write("a", {})
    with pytest.raises(RunError, match="at least two runs are required, got 1"):
        find_runs([run, run])
    with pytest.raises(RunError, match=r"nothing: neither a run nor a sweep: it has no config.yaml"):
        find_runs([run, tmp_path / "nothing"])


def test_tables_fit_the_terminal_without_truncation(write: Write) -> None:
    error = "a long reason " * 9
    runs = find_runs([write(f"run{i}", {"seed": i}, {"status": "failed", "error": error}) for i in range(10)])
    for width in (40, 80, 300):
        lines = text(compare(runs), width)
        assert max(map(len, lines)) <= width
        assert sum("run" in line for line in lines) == {40: 10, 80: 4, 300: 1}[width]
        for i in range(10):
            assert f"run{i}" in "".join(lines)
        cells = [cell.strip() for line in lines for cell in line.split("│")]
        assert "".join(cells).replace(" ", "").count("longreason") >= 9


def test_sections_without_differences_say_so(write: Write) -> None:
    lines = "\n".join(text(compare(find_runs([write("a", {"seed": 0}), write("b", {"seed": 0})]))))
    assert "configuration: the same" in lines
    assert "code and machine: the same" in lines


def test_each_run_has_a_color_training_is_solid_and_validation_dashed(write: Write) -> None:
    one = write("one", {}, train_loss=[2.0, 1.0], val_loss=[2.5, 1.5], train_acc=[0.5, 0.75], val_acc=[0.4, 0.6])
    other = write("$other$", {}, train_loss=[1.0, 0.5], val_loss=[1.0, 0.75])  # no accuracy: a regression
    figure = overlay_curves(find_runs([one, other, write("failed", {})]))
    assert figure is not None
    loss, acc = figure.axes
    lines = {(line.get_color(), line.get_linestyle()): line.get_xydata() for line in loss.lines}
    colors = {color for color, _ in lines}
    assert {(color, style) for color in colors for style in ("-", "--")} == lines.keys()
    first = loss.lines[0].get_color()
    np.testing.assert_array_equal(lines[first, "-"], [[1, 2.0], [2, 1.0]])
    np.testing.assert_array_equal(lines[first, "--"], [[1, 2.5], [2, 1.5]])
    assert {line.get_color() for line in acc.lines} == {first}
    (legend,) = figure.legends
    labels = [entry.get_text() for entry in legend.get_texts()]
    assert labels == ["train", "val", "one", r"\$other\$", "failed (no epoch)"]
    assert (loss.get_ylabel(), acc.get_ylabel(), loss.get_yscale()) == ("loss", "acc", "linear")


def test_a_wide_range_of_losses_has_a_logarithmic_axis(write: Write) -> None:
    one = write("a", {}, train_loss=[2.0, 0.1], val_loss=[float("nan"), 0.2], val_acc=[0.05, 0.9])
    figure = overlay_curves(find_runs([one, write("b", {}, train_loss=[0.2, 0.1], val_loss=[0.3, 0.2])]))
    assert figure is not None
    assert {axes.get_ylabel(): axes.get_yscale() for axes in figure.axes} == {"loss": "log", "acc": "linear"}


def test_epoch_ticks_are_integers_even_for_a_single_epoch(write: Write) -> None:
    figure = overlay_curves(find_runs([write("a", {}, train_loss=[2.0]), write("b", {}, train_loss=[1.0])]))
    assert figure is not None
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) > 0
    assert all(tick == round(tick) for tick in ticks)


@pytest.mark.parametrize("number", [2, 15, 40])
def test_every_run_has_a_color_of_its_own_and_the_figure_can_be_saved(
    number: int, write: Write, tmp_path: Path
) -> None:
    figure = overlay_curves(find_runs([write(f"run{i}", {}, train_loss=[2.0, 1.0 + i]) for i in range(number)]))
    assert figure is not None
    assert len({mpl.colors.to_hex(line.get_color()) for line in figure.axes[0].lines}) == number
    figure.savefig(tmp_path / "out.png")
    assert imread(tmp_path / "out.png").std() > 0
