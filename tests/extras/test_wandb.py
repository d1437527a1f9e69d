"""What a run leaves for Weights & Biases, read from its own files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.utilities import rank_zero_only

from dive.errors import ConfigError, RunError
from dive.loggers import WandbLogger
from dive.loggers.history import read_rows
from dive.runs.record import comparable_config, flatten

pytest.importorskip("wandb", reason="pip install -e '.[loggers]'")

LINEAR = ("model=linear_regression", "trainer=cpu", "data.num_train=100", "data.num_val=50", "logger=wandb")
BLOCK, HEADER = 32768, 7  # of LevelDB's log format, in which wandb writes
LAST = (1, 4)  # kinds of pieces that end a record


def records(run: Path) -> list[Any]:
    """What was written of a run, in order, over all its beginnings."""
    from wandb.proto.wandb_internal_pb2 import Record

    told = []
    for path in sorted(run.glob("wandb/*/run-*.wandb")):
        content, at, whole = path.read_bytes(), HEADER, b""
        while at + HEADER <= len(content):
            if (left := BLOCK - at % BLOCK) < HEADER:
                at += left
                continue
            length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
            whole += content[at + HEADER : at + HEADER + length]
            at += HEADER + length
            if kind in LAST:
                told.append(Record.FromString(whole))
                whole = b""
    return told


def begun(run: Path) -> list[Any]:
    return [record.run for record in records(run) if record.WhichOneof("record_type") == "run"]


def exits(run: Path) -> list[int]:
    return [record.exit.exit_code for record in records(run) if record.WhichOneof("record_type") == "exit"]


def rows(run: Path) -> dict[int, dict[str, float]]:
    """The metrics by step, as metrics.csv has them."""
    told: dict[int, dict[str, float]] = {}
    for record in records(run):
        if record.WhichOneof("record_type") == "history":
            row = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            step = row.pop("trainer/global_step")
            told.setdefault(step, {}).update({k: v for k, v in row.items() if not k.startswith("_")})
    return told


@pytest.fixture(scope="module")
def whole(ran: Callable[..., Any]) -> Any:
    """A run from the command line."""
    return ran("logger=wandb")


def test_a_run_is_told_with_metrics_configuration_and_name(whole: Any) -> None:
    assert rows(whole.directory) == read_rows(whole.directory / "metrics.csv")
    (run,) = begun(whole.directory)
    told = {item.key: json.loads(item.value_json) for item in run.config.update}
    config = yaml.safe_load((whole.directory / "config.yaml").read_text())
    assert {k: v for k, v in told.items() if k != "_wandb"} == dict(flatten(comparable_config(config)))
    assert (run.display_name, run.project) == (whole.directory.name, "dive")
    assert exits(whole.directory) == [0]


def test_nobody_is_called(whole: Any) -> None:
    assert whole.calls == 0


def test_no_code_no_machine_and_no_packages_are_told(whole: Any) -> None:
    kinds = {record.WhichOneof("record_type") for record in records(whole.directory)}
    assert kinds <= {"header", "run", "telemetry", "metric", "summary", "history", "exit"}
    files = {path.name for path in whole.directory.glob("wandb/*/files/**/*")}
    assert not files & {"requirements.txt", "wandb-metadata.json", "diff.patch", "output.log"}
    assert not begun(whole.directory)[0].host


def test_a_run_that_goes_on_is_the_same_run(train: Callable[..., Any], folder: Path) -> None:
    first = train(*LINEAR, "trainer.max_epochs=1")
    assert not [path for path in first.directory.rglob("*") if path.is_symlink()]  # else it is not gone on with
    train(f"resume={first.directory}", "trainer.max_epochs=3", directory=first.directory)
    assert len({run.run_id for run in begun(first.directory)}) == 1
    assert len(begun(first.directory)) == 2
    assert sorted(step for step, row in rows(first.directory).items() if "val/loss" in row) == [3, 7, 11]


def test_runs_of_one_process_are_several(train: Callable[..., Any], folder: Path) -> None:
    one, two = (train(*LINEAR, "trainer.max_epochs=1", f"seed={seed}").directory for seed in (0, 1))
    assert begun(one)[0].run_id != begun(two)[0].run_id
    assert rows(one)[3]["val/loss"] != rows(two)[3]["val/loss"]


def test_a_run_that_fails_ends_as_such(train: Callable[..., Any], folder: Path) -> None:
    with pytest.raises(RunError):
        train(*LINEAR, "optimizer.lr=1e30", directory=folder / "run")
    assert exits(folder / "run") == [1]


def test_settings_in_a_run_s_directory_are_not_heeded(folder: Path) -> None:
    """A stranger's run would else have metrics sent to him, with the key of whoever goes on with it."""
    (folder / "run" / "wandb").mkdir(parents=True)
    (folder / "run" / "wandb" / "settings").write_text(
        "[default]\nbase_url = https://evil.example\nentity = evil\nmode = online\n"
    )
    run = WandbLogger(folder / "run").experiment
    assert "evil" not in f"{run.settings.base_url} {run.settings.entity}"
    assert run.offline
    run.finish()


def test_other_processes_do_not_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = WandbLogger(folder / "run")
    logger.log_metrics({"val/loss": 1.0}, 0)
    logger.finalize("failed")
    assert not (folder / "run").exists()


def test_a_mode_that_is_none_is_one_line(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    with pytest.raises(ConfigError, match=r"WANDB_MODE=nonsense: must be offline, online, disabled$"):
        train(*LINEAR)


def test_what_wandb_complains_about_is_one_line(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**_: Any) -> None:
        raise wandb.Error("nobody\nlistens")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(RunError, match=r"^wandb: nobody listens$"):
        train(*LINEAR)
