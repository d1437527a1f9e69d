"""Learning-rate and batch-size finder: which values they try, which files they write, what they refuse."""

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
RUN_FILES = {
    "code.diff",
    "command.txt",
    "config.yaml",
    "environment.json",
    "result.json",
    "train.log",
    ".lock",
    ".hydra",
}


def record_batch_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the size of each training batch."""
    tried: list[int] = []
    step = Task.training_step

    def training_step(self: Task, batch: Any, batch_idx: int) -> Any:
        tried.append(len(batch[0]))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", training_step)
    return tried


@pytest.mark.parametrize(
    ("num_examples", "max_val", "largest"),
    [(500, 64, 64), (500, 100, 64), (480, 8192, 480), (256, 256, 256), (500, 2, 2), (500, 3, 2)],
)
def test_the_largest_batch_size_is_suggested(
    num_examples: int, max_val: int, largest: int, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = record_batch_sizes(monkeypatch)
    found = train(
        *SMALL,
        f"data.num_train={num_examples + 20}",
        "find_batch_size=true",
        f"tune.find_batch_size.max_val={max_val}",
    )
    assert found.result["suggested_batch_size"] == largest
    assert max(tried) == largest
    assert {min(2**k, num_examples) for k in range(1, 14) if 2 ** (k - 1) < largest} <= {
        *tried
    }  # also the last batches of epochs
    assert all(tried.count(size) == 3 for size in (2, 4) if size < largest)  # steps_per_trial


def limit_memory(max_examples: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Simulate a memory that fits batches of up to `max_examples`, and record the sizes of those that fit."""
    tried = record_batch_sizes(monkeypatch)
    step = Task.training_step

    def training_step_with_limit(self: Task, batch: Any, batch_idx: int) -> Any:
        if len(batch[0]) > max_examples:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Task, "training_step", training_step_with_limit)
    return tried


@pytest.mark.parametrize("init_val", [2, 32, 64, 256, 480, 8192])
def test_a_batch_size_that_does_not_fit_in_memory_is_not_suggested(
    init_val: int, train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = limit_memory(50, monkeypatch)
    found = train(
        *SMALL, "data.num_train=500", "find_batch_size=true", f"tune.find_batch_size.init_val={init_val}"
    )
    suggested = found.result["suggested_batch_size"]
    assert suggested == (30 if init_val in (480, 8192) else 32)  # 480, the whole set, halved
    assert suggested in tried
    assert "limited by memory" in (found.directory / "train.log").read_text()


def test_an_error_is_raised_if_no_batch_size_fits_in_memory(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(0, monkeypatch)
    with pytest.raises(RunError, match=r"^find_batch_size=true: not even a batch of one example fits in memory$"):
        train(*SMALL, "data.num_train=100", "find_batch_size=true")


@pytest.mark.parametrize(
    ("tuner", "extra_files", "key"),
    [("find_lr", {"lr_find.csv", "lr_find.png"}, "optimizer.lr"), ("find_batch_size", set(), "data.batch_size")],
)
def test_a_tuner_run_is_recorded_and_logs_the_command_that_trains(
    tuner: str, extra_files: set[str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [*SMALL, "data.num_train=500", "data.batch_size=16", "tune.find_lr.max_lr=100", f"{tuner}=true"]
    one, two = dive.train(overrides), dive.train(overrides)
    assert {path.name for path in one.directory.iterdir()} == (RUN_FILES - {".hydra"}) | extra_files
    name = tuner.replace("find", "suggested")
    assert one.result[name] == two.result[name]  # bit for bit
    recorded = json.loads((one.directory / "result.json").read_text())
    assert (recorded["status"], recorded["steps"], recorded["score"]) == ("finished", 0, None)
    assert recorded[name] == one.result[name]
    log = (one.directory / "train.log").read_text()
    (line,) = [line for line in log.splitlines() if "to train with it: " in line]
    assert line.endswith(f"{key}={one.result[name]}")
    assert tuner not in line
    trained = dive.train([*line.partition("train.py ")[2].split(), "trainer.max_epochs=1"])
    assert trained.result["epochs"] == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
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
def test_an_impossible_tuner_run_is_a_one_line_error_before_it_starts(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose_resolved(*SMALL, *overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("tuner", ["find_lr", "find_batch_size"])
def test_a_run_cannot_be_resumed_with_a_tuner(tuner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = dive.train([*SMALL, "data.num_train=500", "trainer.max_epochs=1"]).directory
    with pytest.raises(ConfigError, match=f"^{tuner}=true: a tuner cannot be resumed; remove resume="):
        dive.train([f"resume={run}", f"{tuner}=true"])
    assert json.loads((run / "result.json").read_text())["epochs"] == 1  # unchanged


def test_a_tuner_cannot_be_a_job_of_a_sweep() -> None:
    config = compose_resolved(*SMALL, "find_lr=true")
    assert find_problems([("seed=0", config)]) == [
        "find_lr=true: cannot be used in a sweep; remove -m (in seed=0)"
    ]


def test_a_tuner_refuses_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dive.training.trainer.Trainer.world_size", 2)
    with pytest.raises(ConfigError, match=r"^find_lr=true: runs in one process only; set trainer\.devices=1$"):
        dive.train([*SMALL, "data.num_train=500", "find_lr=true"])


def test_a_tuner_run_without_result_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"^find_lr=true: 5 steps are too few"):
        dive.train([*SMALL, "data.num_train=500", "find_lr=true", "tune.find_lr.num_training=5"])
    (run,) = Path("outputs/softmax_regression").iterdir()
    assert json.loads((run / "result.json").read_text())["status"] == "failed"
    assert (run / "lr_find.csv").is_file()


def test_find_lr_must_be_a_boolean() -> None:
    with pytest.raises(ConfigError, match=r"^find_lr=flase: must be true or false$"):
        compose_resolved(*SMALL, "find_lr=flase")


@pytest.mark.parametrize(("max_val", "limit"), [(64, "max_val=64"), (8192, "the size of the training set")])
def test_the_limit_of_the_batch_size_is_logged(max_val: int, limit: str, train: Callable[..., Any]) -> None:
    run = train(*SMALL, "data.num_train=100", "find_batch_size=true", f"tune.find_batch_size.max_val={max_val}")
    assert f"limited by {limit}\n" in (run.directory / "train.log").read_text()
