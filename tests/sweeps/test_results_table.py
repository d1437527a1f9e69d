"""The jobs of a sweep as a table."""

import json
import shlex
import statistics
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dive.errors import RunError
from dive.sweeps.results_table import load_table, to_text
from dive.sweeps.sweep import Sweep

SCORES = {"0.1": [0.5, 0.75, 0.7], "0.3": [0.8, 0.85, 0.6], "1": [0.9]}


@pytest.fixture
def grid(sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]) -> Callable[..., Path]:
    """Write a sweep over learning rates and seeds that is finished."""

    def written(monitor: str = "val/acc") -> Path:
        asked = {}
        for lr, scores in SCORES.items():
            for seed, score in enumerate(scores):
                name = f"lr={lr},seed={seed}"
                asked[name] = [f"lr={lr}", f"seed={seed}"]
                fake_run(name, {"lr": float(lr), "seed": seed}, score=score, monitor=monitor)
        record(["lr", "seed"], asked)
        return sweep_dir

    return written


def test_a_job_is_a_row_with_all_that_came_out(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("seed=7", {"seed": 7, "model": "mlp"}, score=0.5)
    record(["seed"], {"seed=7": ["model=mlp", "seed=7"]})
    table = load_table(sweep_dir)
    assert (table.directory, table.varied, table.monitor) == (sweep_dir, ["seed"], "val/acc")
    row = table.jobs.iloc[0].to_dict()
    assert row.pop("error") is None
    assert row == {
        "job": "seed=7",
        "seed": "7",
        "others": "model=mlp",
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


def test_jobs_that_differ_in_more_than_what_varies_are_not_taken_for_seeds_of_one(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    words = {f"{n}-{seed}": [f"epochs={n}", f"seed={seed}"] for n in (1, 2) for seed in (0, 1)}
    for name in words:
        fake_run(name, {"name": name}, score=0.5)
    record(["seed"], words)
    table = load_table(sweep_dir)
    assert table.varied == ["seed", "epochs"]
    assert sorted(table.mean_over_seeds()[["epochs", "n"]].to_numpy().tolist()) == [["1", 2], ["2", 2]]


def test_a_setting_is_the_same_however_it_was_typed_and_if_it_was_not(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    config = {"data": {"shuffle": True}, "clip": None, "draw": 12345678901}
    typed = ["data.shuffle=True", "clip=null", "draw=12345678901"]
    for seed in range(4):
        fake_run(str(seed), config | {"seed": seed}, score=0.5)
    fake_run("4", config | {"draw": 12345678902}, score=0.5)
    words = {str(seed): [f"seed={seed}", *(typed if seed > 1 else [])] for seed in range(4)}
    record(["seed"], words | {"4": ["draw=12345678902"]})
    table = load_table(sweep_dir)
    assert table.varied == ["seed", "draw"]
    assert sorted(table.mean_over_seeds()[["draw", "n"]].to_numpy().tolist()) == [
        ["12345678901", 4],
        ["12345678902", 1],
    ]


@pytest.mark.parametrize("name", ["..", "a/b", "", "/tmp/x"])
def test_a_record_that_names_what_is_not_in_the_sweep_is_refused(
    name: str, sweep_dir: Path, record: Callable[..., None]
) -> None:
    record(["seed"], {name: ["seed=0"]})
    with pytest.raises(RunError, match=r"sweep\.json: .* is no name of a job$"):
        load_table(sweep_dir)


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss"])
def test_the_best_is_first(monitor: str, grid: Callable[..., Path]) -> None:
    table = load_table(grid(monitor))
    assert table.lower_is_better == (monitor == "val/loss")
    expected = sorted((s for scores in SCORES.values() for s in scores), reverse=monitor == "val/acc")
    assert table.jobs["score"].tolist() == expected
    assert table.jobs.index.tolist() == list(range(7))
    assert table.best is not None
    assert table.best["score"] == expected[0]
    assert table.jobs.iloc[0]["job"] == ("lr=1,seed=0" if monitor == "val/acc" else "lr=0.1,seed=0")


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss"])
def test_jobs_that_left_no_score_are_rows_after_the_others(
    monitor: str, sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="ValueError: no")
    fake_run("seed=1", {"seed": 1}, status="killed", error="killed by SIGKILL")
    fake_run("seed=2", {"seed": 2}, score=0.5, monitor=monitor)
    fake_run("seed=3", {"seed": 3}, status="interrupted", error="exit code 130")
    fake_run("seed=4", {"seed": 4}, score=0.25, monitor=monitor)
    record(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(6)})
    table = load_table(sweep_dir)
    first = ["seed=2", "seed=4"] if monitor == "val/acc" else ["seed=4", "seed=2"]
    assert table.jobs["job"].tolist() == [*first, "seed=0", "seed=1", "seed=3", "seed=5"]
    statuses = ["finished", "finished", "failed", "killed", "interrupted", "missing"]
    assert table.jobs["status"].tolist() == statuses
    assert table.finished["job"].tolist() == first
    assert table.failed["job"].tolist() == ["seed=0", "seed=1"]
    assert table.failed["error"].tolist() == ["ValueError: no", "killed by SIGKILL"]
    assert table.unfinished == 2
    assert table.summary() == "6 jobs: 2 finished, 1 failed, 1 killed, 1 interrupted, 1 missing"


def test_a_sweep_of_which_nothing_has_finished_has_a_table(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="no")
    record(["seed"], {"seed=0": ["seed=0"], "seed=1": ["seed=1"]})
    table = load_table(sweep_dir)
    assert table.monitor is None
    assert table.best is None
    assert not table.lower_is_better
    assert table.jobs["status"].tolist() == ["failed", "missing"]
    assert len(table.finished) == len(table.mean_over_seeds()) == 0


def test_what_has_begun_is_running_while_the_sweep_is_open_and_interrupted_after(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, status=None)
    record(["seed"], {"seed=0": ["seed=0"]})
    with Sweep(sweep_dir):
        assert load_table(sweep_dir).jobs["status"].tolist() == ["running"]
    table = load_table(sweep_dir)
    assert table.jobs["status"].tolist() == ["interrupted"]
    assert table.unfinished == 1


@pytest.mark.parametrize("monitor", ["val/acc", "val/loss"])
def test_scores_are_gathered_over_seeds(monitor: str, grid: Callable[..., Path]) -> None:
    table = load_table(grid(monitor)).mean_over_seeds()
    assert table.columns.tolist() == ["lr", "mean", "std", "n"]
    # By the standard library; 0.1: mean 0.65, 0.3: mean 0.75.
    order = ["1", "0.3", "0.1"] if monitor == "val/acc" else ["0.1", "0.3", "1"]
    assert table["lr"].tolist() == order
    assert table["n"].tolist() == [len(SCORES[lr]) for lr in order]
    assert table["mean"].tolist() == pytest.approx([statistics.mean(SCORES[lr]) for lr in order])
    std = table.set_index("lr")["std"]
    assert std["0.1"] == pytest.approx(statistics.stdev(SCORES["0.1"]))
    assert std["0.1"] == pytest.approx(0.1322876, abs=1e-6)  # sqrt((0.15^2 + 0.1^2 + 0.05^2) / 2)
    assert std["0.3"] == pytest.approx(statistics.stdev(SCORES["0.3"]))
    assert pd.isna(std["1"])  # of one there is none


def test_scores_of_different_metrics_have_no_best(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("task=a", {"task": "a"}, score=0.5, monitor="val/acc")
    fake_run("task=b", {"task": "b"}, score=0.25, monitor="val/loss")
    record(["task"], {"task=a": ["task=a"], "task=b": ["task=b"]})
    table = load_table(sweep_dir)
    assert table.monitor is None
    assert table.best is None
    assert table.summary_columns()[["job", "monitor", "score"]].to_numpy().tolist() == [
        ["task=a", "val/acc", 0.5],
        ["task=b", "val/loss", 0.25],
    ]


def test_where_the_seed_alone_varies_all_jobs_are_gathered(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    for seed, score in enumerate([0.5, 0.75]):
        fake_run(f"seed={seed}", {"seed": seed}, score=score)
    fake_run("seed=2", {"seed": 2}, status="failed", error="no")
    record(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(4)})
    (row,) = load_table(sweep_dir).mean_over_seeds().to_dict("records")
    assert (row["mean"], row["n"]) == (0.625, 2)
    assert row["std"] == pytest.approx(0.125 * 2**0.5)


def test_failed_jobs_do_not_count_among_the_seeds(
    grid: Callable[..., Path], fake_run: Callable[..., Path]
) -> None:
    directory = grid()
    for name, result in (("lr=0.1,seed=1", {"status": "failed", "error": "no"}), ("lr=1,seed=0", None)):
        (directory / name / "result.json").unlink()
        if result is not None:
            (directory / name / "result.json").write_text(json.dumps(result))
    table = load_table(directory).mean_over_seeds()
    assert dict(zip(table["lr"], table["n"], strict=True)) == {"0.3": 3, "0.1": 2}
    assert table["mean"].tolist() == pytest.approx([0.75, 0.6])


def test_the_command_of_each_job_can_be_typed(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    words = ["model=mlp", "data.root='a b'", "model.num_hiddens=[64, 64]", "+note=$HOME;ls"]
    fake_run("a", {"seed": 0}, score=0.5)
    record(["data.root"], {"a": words})
    command = load_table(sweep_dir).jobs.iloc[0]["command"]
    assert command == """python train.py model=mlp 'data.root='"'"'a b'"'"'' """ + (
        "'model.num_hiddens=[64, 64]' '+note=$HOME;ls'"
    )
    assert shlex.split(command) == ["python", "train.py", *words]


def test_of_a_key_that_came_to_vary_later_earlier_jobs_show_the_value_that_they_had(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0, "optimizer": {"lr": 0.1}}, score=0.5)
    fake_run("optimizer.lr=0.3", {"seed": 0, "optimizer": {"lr": 0.3}}, score=0.25)
    record(["seed", "optimizer.lr"], {"seed=0": ["seed=0"], "optimizer.lr=0.3": ["optimizer.lr=0.3"]})
    jobs = load_table(sweep_dir).jobs
    assert [[str(cell) for cell in row] for row in jobs[["seed", "optimizer.lr"]].to_numpy()] == [
        ["0", "0.1"],
        ["0", "0.3"],
    ]


def test_what_fits_a_page_has_errors_only_where_there_are_any(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5)
    record(["seed"], {"seed=0": ["seed=0"]})
    columns = ["job", "seed", "status", "score", "best epoch", "seconds"]
    assert load_table(sweep_dir).summary_columns().columns.tolist() == columns
    fake_run("seed=1", {"seed": 1}, status="failed", error="no")
    record(["seed"], {"seed=0": ["seed=0"], "seed=1": ["seed=1"]})
    assert load_table(sweep_dir).summary_columns().columns.tolist() == [*columns, "error"]


def test_a_directory_that_is_no_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        load_table(tmp_path / "nowhere")
    assert str(caught.value) == (
        f"{tmp_path / 'nowhere'} holds no sweep: {tmp_path / 'nowhere' / 'sweep.json'} does not exist"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(RunError, match="is damaged"):
        load_table(tmp_path)


def test_cells_are_shown_to_four_digits_and_empty_where_there_is_nothing() -> None:
    frame = pd.DataFrame({"a": [0.123456, None], "b": ["x", None], "c": [3, 4], "d": [float("nan"), 2.0]})
    assert to_text(frame).to_numpy().tolist() == [["0.1235", "x", "3", ""], ["", "", "4", "2"]]


def test_typed_and_default_values_are_one_group(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0, "lr": 0.1}, score=0.5)
    fake_run("b", {"seed": 1, "lr": 0.1}, score=0.6)
    record(["seed", "lr"], {"seed=0": ["seed=0"], "b": ["lr=0.1", "seed=1"]})
    assert load_table(sweep_dir).mean_over_seeds()["n"].tolist() == [2]
