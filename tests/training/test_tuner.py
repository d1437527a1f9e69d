"""Learning-rate and batch-size finder: which values they try, which files they write, what they refuse."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tests.short_runs import configure

import dive
from dive.config.compose import compose_resolved
from dive.errors import ConfigError, RunError
from dive.sweeps.preflight import find_problems
from dive.tasks.task import Task
from dive.training import instantiate, tuner

SMALL = (
    "model=softmax_regression",
    "data=garments",
    "data.num_train=100",
    "data.num_test=30",
    "data.val_size=20",
    "trainer=cpu",
    "callbacks=lean",
)
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


def find(num_examples: int, folder: Path, init_val: int = 2, max_val: int = 8192) -> int:
    """Find the largest batch size, as a run of train.py does."""
    config = tuner.isolated_config(compose_resolved(*SMALL))
    config["data"]["num_train"] = num_examples + config["data"]["val_size"]
    data = instantiate.instantiate_datamodule(config)
    task = instantiate.instantiate_task(config, data)
    trainer = instantiate.instantiate_trainer(config, folder)
    return tuner.find_batch_size(trainer, task, data, init_val, max_val, steps_per_trial=3)


@pytest.mark.parametrize(
    ("num_examples", "max_val", "largest", "limit"),
    [
        (60, 16, 16, "max_val=16"),
        (60, 25, 16, "max_val=25"),
        (60, 8192, 60, "the size of the training set"),
        (32, 32, 32, "the size of the training set"),
        (60, 2, 2, "max_val=2"),
        (60, 3, 2, "max_val=3"),
    ],
)
def test_the_largest_batch_size_is_suggested(
    num_examples: int,
    max_val: int,
    largest: int,
    limit: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried = record_batch_sizes(monkeypatch)
    with caplog.at_level(logging.INFO, logger=tuner.__name__):
        assert find(num_examples, tmp_path, max_val=max_val) == largest
    assert max(tried) == largest
    assert {min(2**k, num_examples) for k in range(1, 14) if 2 ** (k - 1) < largest} <= {
        *tried
    }  # also the last batches of epochs
    assert all(tried.count(size) == 3 for size in (2, 4) if size < largest)  # steps_per_trial
    assert caplog.messages[-1] == f"largest batch size: {largest}, limited by {limit}"


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


@pytest.mark.parametrize("init_val", [2, 8, 16, 64, 96, 8192])
def test_a_batch_size_that_does_not_fit_in_memory_is_not_suggested(
    init_val: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tried = limit_memory(10, monkeypatch)
    with caplog.at_level(logging.INFO, logger=tuner.__name__):
        suggested = find(96, tmp_path, init_val=init_val)
    assert suggested == (6 if init_val in (96, 8192) else 8)  # 96, the whole set, halved
    assert suggested in tried
    assert caplog.messages[-1] == f"largest batch size: {suggested}, limited by memory"


def test_an_error_is_raised_if_no_batch_size_fits_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_memory(0, monkeypatch)
    with pytest.raises(RunError, match=r"^find_batch_size=true: not even a batch of one example fits in memory$"):
        find(80, tmp_path)


@pytest.mark.parametrize(
    ("name", "extra_files", "key"),
    [("find_lr", {"lr_find.csv", "lr_find.png"}, "optimizer.lr"), ("find_batch_size", set(), "data.batch_size")],
)
def test_a_tuner_run_is_recorded_and_logs_the_command_that_trains(
    name: str, extra_files: set[str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = ("tune.find_lr.max_lr=100", "tune.find_lr.num_training=100", "tune.find_batch_size.max_val=16")
    overrides = [*SMALL, "data.batch_size=16", *search, f"{name}=true"]
    one, two = dive.train(overrides), dive.train(overrides)
    assert {path.name for path in one.directory.iterdir()} == (RUN_FILES - {".hydra"}) | extra_files
    suggested = name.replace("find", "suggested")
    assert one.result[suggested] == two.result[suggested]  # bit for bit
    if name == "find_batch_size":
        assert one.result[suggested] == 16
    recorded = json.loads((one.directory / "result.json").read_text())
    assert (recorded["status"], recorded["steps"], recorded["score"]) == ("finished", 0, None)
    assert recorded[suggested] == one.result[suggested]
    log = (one.directory / "train.log").read_text()
    (line,) = [line for line in log.splitlines() if "to train with it: " in line]
    assert line.endswith(f"{key}={one.result[suggested]}")
    assert name not in line
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
    ],
)
def test_an_impossible_tuner_run_is_a_one_line_error_before_it_starts(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        configure(SMALL, *overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_find_lr_needs_a_learning_rate() -> None:
    with pytest.raises(ConfigError, match=r"^.*the configuration has no optimizer\.lr.*$"):
        compose_resolved(*SMALL, "find_lr=true", "~optimizer.lr")


def test_a_run_cannot_be_resumed_with_a_tuner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = dive.train([*SMALL, "trainer.max_epochs=1"]).directory
    for name in ("find_lr", "find_batch_size"):
        with pytest.raises(ConfigError, match=f"^{name}=true: a tuner cannot be resumed; remove resume="):
            dive.train([f"resume={run}", f"{name}=true"])
    assert json.loads((run / "result.json").read_text())["epochs"] == 1  # unchanged


def test_a_tuner_cannot_be_a_job_of_a_sweep() -> None:
    assert find_problems([("seed=0", configure(SMALL, "find_lr=true"))]) == [
        "find_lr=true: cannot be used in a sweep; remove -m (in seed=0)"
    ]


def test_a_tuner_refuses_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dive.training.trainer.Trainer.world_size", 2)
    with pytest.raises(ConfigError, match=r"^find_lr=true: runs in one process only; set trainer\.devices=1$"):
        dive.train([*SMALL, "find_lr=true"])


def test_a_tuner_run_without_result_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"^find_lr=true: 5 steps are too few"):
        dive.train([*SMALL, "find_lr=true", "tune.find_lr.num_training=5"])
    (run,) = Path("outputs/softmax_regression").iterdir()
    assert json.loads((run / "result.json").read_text())["status"] == "failed"
    assert (run / "lr_find.csv").is_file()


def test_find_lr_must_be_a_boolean() -> None:
    with pytest.raises(ConfigError, match=r"^find_lr=flase: must be true or false$"):
        configure(SMALL, "find_lr=flase")
