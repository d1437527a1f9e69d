"""Searches in place of training: what is tried, what is left, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dive
from dive.config.compose import compose_resolved
from dive.errors import ConfigError, RunError
from dive.sweeps.preflight import find_problems
from dive.tasks.task import Task

SMALL = ("model=softmax_regression", "data=garments", "data.num_test=30", "data.val_size=20", "trainer=cpu")
LEFT = {
    "code.diff",
    "command.txt",
    "config.yaml",
    "environment.json",
    "result.json",
    "train.log",
    ".lock",
    ".hydra",
}


def sizes_tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that are trained on, as they come."""
    tried: list[int] = []
    step = Task.training_step

    def spy(self: Task, batch: Any, batch_idx: int) -> Any:
        tried.append(len(batch[0]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", spy)
    return tried


@pytest.mark.parametrize(
    ("examples", "most", "largest"),
    [(500, 64, 64), (500, 100, 64), (480, 8192, 480), (256, 256, 256), (500, 2, 2), (500, 3, 2)],
)
def test_the_batch_size_is_the_largest_that_was_tried(
    examples: int, most: int, largest: int, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = sizes_tried(monkeypatch)
    found = train(
        *SMALL, f"data.num_train={examples + 20}", "find_batch_size=true", f"tune.find_batch_size.max_val={most}"
    )
    assert found.result["suggested_batch_size"] == largest
    assert max(tried) == largest
    assert {min(2**k, examples) for k in range(1, 14) if 2 ** (k - 1) < largest} <= {*tried}  # and ends of epochs
    assert all(tried.count(size) == 3 for size in (2, 4) if size < largest)  # steps_per_trial


def fitting(examples: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have the memory be full of so many examples a batch; those that fit are noted."""
    tried = sizes_tried(monkeypatch)
    step = Task.training_step

    def full(self: Task, batch: Any, batch_idx: int) -> Any:
        if len(batch[0]) > examples:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", full)
    return tried


@pytest.mark.parametrize("first", [2, 32, 64, 256, 480, 8192])
def test_what_does_not_fit_into_memory_is_not_suggested(
    first: int, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = fitting(50, monkeypatch)
    found = train(*SMALL, "data.num_train=500", "find_batch_size=true", f"tune.find_batch_size.init_val={first}")
    suggested = found.result["suggested_batch_size"]
    assert suggested == (30 if first in (480, 8192) else 32)  # of the whole set, 480, halves
    assert suggested in tried
    assert "what ended the search was memory" in (found.directory / "train.log").read_text()


def test_where_nothing_fits_into_memory_that_is_told(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting(0, monkeypatch)
    with pytest.raises(RunError, match=r"^find_batch_size=true: not even one example at a time fits into memory$"):
        train(*SMALL, "data.num_train=100", "find_batch_size=true")


@pytest.mark.parametrize(
    ("search", "beside", "key"),
    [("find_lr", {"lr_find.csv", "lr_find.png"}, "optimizer.lr"), ("find_batch_size", set(), "data.batch_size")],
)
def test_a_search_is_recorded_says_what_to_type_and_does_not_train(
    search: str, beside: set[str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*SMALL, "data.num_train=500", "data.batch_size=16", "tune.find_lr.max_lr=100", f"{search}=true"]
    one, two = dive.train(words), dive.train(words)
    assert {path.name for path in one.directory.iterdir()} == (LEFT - {".hydra"}) | beside
    name = search.replace("find", "suggested")
    assert one.result[name] == two.result[name]  # to the bit
    recorded = json.loads((one.directory / "result.json").read_text())
    assert (recorded["status"], recorded["steps"], recorded["score"]) == ("finished", 0, None)
    assert recorded[name] == one.result[name]
    log = (one.directory / "train.log").read_text()
    (line,) = [line for line in log.splitlines() if "to train with it: " in line]
    assert line.endswith(f"{key}={one.result[name]}")
    assert search not in line
    trained = dive.train([*line.partition("train.py ")[2].split(), "trainer.max_epochs=1"])
    assert trained.result["epochs"] == 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["find_lr=true", "find_batch_size=true"], "find_batch_size=true: cannot be combined with find_lr=true"),
        (["find_lr=true", "tune.find_lr.min_lr=1", "tune.find_lr.max_lr=1"], "min_lr=1: must be below"),
        (["find_batch_size=true", "tune.find_batch_size.init_val=9000"], "init_val=9000: must be at most"),
        (
            ["find_batch_size=true", "tune.find_batch_size.max_val=8193"],
            "max_val=8193: must be at most 8192, Lightning's limit",
        ),
        (["find_lr=true", "tune.find_lr.min_lr=-1"], "tune.find_lr.min_lr=-1: must be a number in (0, inf)"),
        (["find_lr=true", "tune.find_lr.num_training=0.5"], "num_training=0.5: must be an integer"),
        (["find_lr=true", "~optimizer.lr"], "the configuration has no optimizer.lr"),
    ],
)
def test_a_search_that_cannot_be_done_is_one_line_before_it_begins(overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as told:
        compose_resolved(*SMALL, *overrides)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("search", ["find_lr", "find_batch_size"])
def test_a_run_is_not_gone_on_with_to_search(search: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = dive.train([*SMALL, "data.num_train=500", "trainer.max_epochs=1"]).directory
    with pytest.raises(ConfigError, match=f"^{search}=true: a tuner cannot be resumed; remove resume="):
        dive.train([f"resume={run}", f"{search}=true"])
    assert json.loads((run / "result.json").read_text())["epochs"] == 1  # as it was


def test_a_search_is_no_job_of_a_sweep() -> None:
    config = compose_resolved(*SMALL, "find_lr=true")
    assert find_problems([("seed=0", config)]) == [
        "find_lr=true: a search is no job of a sweep; leave out -m (in seed=0)"
    ]


def test_several_processes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dive.training.trainer.Trainer.world_size", 2)
    with pytest.raises(ConfigError, match=r"^find_lr=true: searches in one process; trainer\.devices=1$"):
        dive.train([*SMALL, "data.num_train=500", "find_lr=true"])


def test_a_search_that_finds_nothing_is_a_run_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"^find_lr=true: 5 steps say too little"):
        dive.train([*SMALL, "data.num_train=500", "find_lr=true", "tune.find_lr.num_training=5"])
    (run,) = Path("outputs/softmax_regression").iterdir()
    assert json.loads((run / "result.json").read_text())["status"] == "failed"
    assert (run / "lr_find.csv").is_file()


def test_a_search_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match=r"^find_lr=flase: must be true or false$"):
        compose_resolved(*SMALL, "find_lr=flase")


@pytest.mark.parametrize(("most", "why"), [(64, "max_val=64"), (8192, "the whole set")])
def test_what_ended_the_search_for_a_batch_size_is_told(most: int, why: str, train: Callable[..., Any]) -> None:
    run = train(*SMALL, "data.num_train=100", "find_batch_size=true", f"tune.find_batch_size.max_val={most}")
    assert f"what ended the search was {why}" in (run.directory / "train.log").read_text()
