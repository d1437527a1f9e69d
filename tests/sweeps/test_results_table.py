"""The jobs of a sweep as a table."""

import json
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dive.errors import RunError
from dive.sweeps.results_table import format_cell, load_table
from dive.sweeps.sweep import Sweep

SCORES = {"0.1": [0.5, 0.75, 0.7], "0.3": [0.8, 0.85, 0.6], "1": [0.9]}


@pytest.fixture
def grid(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> Callable[..., Path]:
    """Write a finished sweep over learning rates and seeds."""

    def write(monitor: str = "val/acc") -> Path:
        jobs = {}
        for lr, scores in SCORES.items():
            for seed, score in enumerate(scores):
                name = f"lr={lr},seed={seed}"
                jobs[name] = [f"lr={lr}", f"seed={seed}"]
                fake_run(name, {"lr": float(lr), "seed": seed}, score=score, monitor=monitor)
        write_manifest(["lr", "seed"], jobs)
        return sweep_dir

    return write


def test_finished_job_is_a_row_with_its_results(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=7", {"seed": 7, "model": "mlp"}, score=0.5)
    write_manifest(["seed"], {"seed=7": ["model=mlp", "seed=7"]})
    table = load_table(sweep_dir)
    assert (table.directory, table.varied, table.monitor) == (sweep_dir, ["seed"], "val/acc")
    row = table.jobs.iloc[0].to_dict()
    assert row.pop("error") is None
    assert row == {
        "job": "seed=7",
        "seed": "7",
        "others": "model=mlp",
        "data version": None,
        "status": "finished",
        "monitor": "val/acc",
        "score": 0.5,
        "best epoch": 2,
        "best val/acc": 0.5,
        "best val/loss": 0.25,
        "final val/acc": 0.125,
        "seconds": 1.5,
        "command": "python train.py model=mlp seed=7",
    }


def test_keys_that_vary_between_commands_separate_groups(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    words = {f"{n}-{seed}": [f"epochs={n}", f"seed={seed}"] for n in (1, 2) for seed in (0, 1)}
    for name in words:
        fake_run(name, {"name": name}, score=0.5)
    write_manifest(["seed"], words)
    table = load_table(sweep_dir)
    assert table.varied == ["seed", "epochs"]
    assert sorted(table.mean_over_seeds()[["epochs", "n"]].to_numpy().tolist()) == [["1", 2], ["2", 2]]


def test_equal_values_are_equal_however_they_were_set(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    config = {"data": {"shuffle": True}, "clip": None, "draw": 12345678901}
    typed = ["data.shuffle=True", "clip=null", "draw=12345678901"]
    for seed in range(4):
        fake_run(str(seed), config | {"seed": seed}, score=0.5)
    fake_run("4", config | {"draw": 12345678902}, score=0.5)
    words = {str(seed): [f"seed={seed}", *(typed if seed > 1 else [])] for seed in range(4)}
    write_manifest(["seed"], words | {"4": ["draw=12345678902"]})
    table = load_table(sweep_dir)
    assert table.varied == ["seed", "draw"]
    assert sorted(table.mean_over_seeds()[["draw", "n"]].to_numpy().tolist()) == [
        ["12345678901", 4],
        ["12345678902", 1],
    ]


@pytest.mark.parametrize("name", ["..", "a/b", "", "/tmp/x"])
def test_manifest_with_a_job_outside_the_sweep_is_rejected(
    name: str, sweep_dir: Path, write_manifest: Callable[..., None]
) -> None:
    write_manifest(["seed"], {name: ["seed=0"]})
    with pytest.raises(RunError, match=r"sweep\.json: .* is not a valid job name$"):
        load_table(sweep_dir)


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss"])
def test_best_job_is_first(monitor: str, grid: Callable[..., Path]) -> None:
    table = load_table(grid(monitor))
    assert table.mode == ("min" if monitor == "val/loss" else "max")
    expected = sorted((s for scores in SCORES.values() for s in scores), reverse=monitor == "val/acc")
    assert table.jobs["score"].tolist() == expected
    assert table.jobs.index.tolist() == list(range(7))
    assert table.best is not None
    assert table.best["score"] == expected[0]
    assert table.jobs.iloc[0]["job"] == ("lr=1,seed=0" if monitor == "val/acc" else "lr=0.1,seed=0")


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss"])
def test_jobs_without_a_score_come_last(
    monitor: str, sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="ValueError: no")
    fake_run("seed=1", {"seed": 1}, status="killed", error="killed by SIGKILL")
    fake_run("seed=2", {"seed": 2}, score=0.5, monitor=monitor)
    fake_run("seed=3", {"seed": 3}, status="interrupted", error="exit code 130")
    fake_run("seed=4", {"seed": 4}, score=0.25, monitor=monitor)
    write_manifest(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(6)})
    table = load_table(sweep_dir)
    first = ["seed=2", "seed=4"] if monitor == "val/acc" else ["seed=4", "seed=2"]
    assert table.jobs["job"].tolist() == [*first, "seed=0", "seed=1", "seed=3", "seed=5"]
    statuses = ["finished", "finished", "failed", "killed", "interrupted", "not started"]
    assert table.jobs["status"].tolist() == statuses
    assert table.finished["job"].tolist() == first
    assert table.failed["job"].tolist() == ["seed=0", "seed=1"]
    assert table.failed["error"].tolist() == ["ValueError: no", "killed by SIGKILL"]
    assert table.unfinished == 2
    assert table.summary() == "6 jobs: 2 finished, 1 failed, 1 killed, 1 interrupted, 1 not started"


def test_sweep_without_finished_jobs_has_a_table(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="no")
    write_manifest(["seed"], {"seed=0": ["seed=0"], "seed=1": ["seed=1"]})
    table = load_table(sweep_dir)
    assert table.monitor is None
    assert table.best is None
    assert table.mode == "max"
    assert table.jobs["status"].tolist() == ["failed", "not started"]
    assert len(table.finished) == len(table.mean_over_seeds()) == 0


def test_job_without_a_result_is_running_while_the_sweep_is_locked_else_interrupted(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, status=None)
    write_manifest(["seed"], {"seed=0": ["seed=0"]})
    with Sweep(sweep_dir):
        assert load_table(sweep_dir).jobs["status"].tolist() == ["running"]
    table = load_table(sweep_dir)
    assert table.jobs["status"].tolist() == ["interrupted"]
    assert table.unfinished == 1


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss"])
def test_mean_over_seeds(monitor: str, grid: Callable[..., Path]) -> None:
    table = load_table(grid(monitor)).mean_over_seeds()
    assert table.columns.tolist() == ["lr", "mean", "std", "n"]
    # Compared with the standard library; lr=0.1 has mean 0.65, lr=0.3 has mean 0.75.
    order = ["1", "0.3", "0.1"] if monitor == "val/acc" else ["0.1", "0.3", "1"]
    assert table["lr"].tolist() == order
    assert table["n"].tolist() == [len(SCORES[lr]) for lr in order]
    assert table["mean"].tolist() == pytest.approx([statistics.mean(SCORES[lr]) for lr in order])
    std = table.set_index("lr")["std"]
    assert std["0.1"] == pytest.approx(statistics.stdev(SCORES["0.1"]))
    assert std["0.1"] == pytest.approx(0.1322876, abs=1e-6)  # sqrt((0.15^2 + 0.1^2 + 0.05^2) / 2)
    assert std["0.3"] == pytest.approx(statistics.stdev(SCORES["0.3"]))
    assert pd.isna(std["1"])  # undefined for one score


def test_different_monitored_metrics_have_no_best_job(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("task=a", {"task": "a"}, score=0.5, monitor="val/acc")
    fake_run("task=b", {"task": "b"}, score=0.25, monitor="val/loss")
    write_manifest(["task"], {"task=a": ["task=a"], "task=b": ["task=b"]})
    table = load_table(sweep_dir)
    assert table.monitor is None
    assert table.best is None
    assert table.summary_columns()[["job", "monitor", "score"]].to_numpy().tolist() == [
        ["task=a", "val/acc", 0.5],
        ["task=b", "val/loss", 0.25],
    ]


def test_mean_over_all_jobs_if_only_the_seed_varies(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    for seed, score in enumerate([0.5, 0.75]):
        fake_run(f"seed={seed}", {"seed": seed}, score=score)
    fake_run("seed=2", {"seed": 2}, status="failed", error="no")
    write_manifest(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(4)})
    (row,) = load_table(sweep_dir).mean_over_seeds().to_dict("records")
    assert (row["mean"], row["n"]) == (0.625, 2)
    assert row["std"] == pytest.approx(0.125 * 2**0.5)


def test_failed_jobs_are_not_in_the_mean(grid: Callable[..., Path], fake_run: Callable[..., Path]) -> None:
    directory = grid()
    for name, result in (("lr=0.1,seed=1", {"status": "failed", "error": "no"}), ("lr=1,seed=0", None)):
        (directory / name / "result.json").unlink()
        if result is not None:
            (directory / name / "result.json").write_text(json.dumps(result))
    table = load_table(directory).mean_over_seeds()
    assert dict(zip(table["lr"], table["n"], strict=True)) == {"0.3": 3, "0.1": 2}
    assert table["mean"].tolist() == pytest.approx([0.75, 0.6])


def test_command_of_a_job_is_quoted_for_the_shell(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    words = ["model=mlp", "data.root='a b'", "model.num_hiddens=[64, 64]", "+note=$HOME;ls"]
    fake_run("a", {"seed": 0}, score=0.5)
    write_manifest(["data.root"], {"a": words})
    command = load_table(sweep_dir).jobs.iloc[0]["command"]
    assert command == """python train.py model=mlp 'data.root='"'"'a b'"'"'' """ + (
        "'model.num_hiddens=[64, 64]' '+note=$HOME;ls'"
    )
    assert shlex.split(command) == ["python", "train.py", *words]


def test_earlier_jobs_show_their_value_of_a_key_that_varies_later(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0, "optimizer": {"lr": 0.1}}, score=0.5)
    fake_run("optimizer.lr=0.3", {"seed": 0, "optimizer": {"lr": 0.3}}, score=0.25)
    write_manifest(["seed", "optimizer.lr"], {"seed=0": ["seed=0"], "optimizer.lr=0.3": ["optimizer.lr=0.3"]})
    jobs = load_table(sweep_dir).jobs
    assert [[str(cell) for cell in row] for row in jobs[["seed", "optimizer.lr"]].to_numpy()] == [
        ["0", "0.1"],
        ["0", "0.3"],
    ]


def test_summary_has_an_error_column_only_if_there_are_errors(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5)
    write_manifest(["seed"], {"seed=0": ["seed=0"]})
    columns = ["job", "seed", "status", "score", "best epoch", "seconds"]
    assert load_table(sweep_dir).summary_columns().columns.tolist() == columns
    fake_run("seed=1", {"seed": 1}, status="failed", error="no")
    write_manifest(["seed"], {"seed=0": ["seed=0"], "seed=1": ["seed=1"]})
    assert load_table(sweep_dir).summary_columns().columns.tolist() == [*columns, "error"]


def test_directory_without_a_manifest_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        load_table(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"{tmp_path / 'nowhere'} is not a sweep directory: {tmp_path / 'nowhere' / 'sweep.json'} does not exist"
    )
    assert list(tmp_path.iterdir()) == []


def test_corrupt_manifest_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(RunError, match="is corrupt"):
        load_table(tmp_path)


def test_cell_format() -> None:
    frame = pd.DataFrame({"a": [0.123456, None], "b": ["x", None], "c": [3, 4], "d": [float("nan"), 2.0]})
    assert frame.map(format_cell).to_numpy().tolist() == [["0.1235", "x", "3", ""], ["", "", "4", "2"]]


def test_typed_and_default_values_are_one_group(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0, "lr": 0.1}, score=0.5)
    fake_run("b", {"seed": 1, "lr": 0.1}, score=0.6)
    write_manifest(["seed", "lr"], {"seed=0": ["seed=0"], "b": ["lr=0.1", "seed=1"]})
    assert load_table(sweep_dir).mean_over_seeds()["n"].tolist() == [2]
