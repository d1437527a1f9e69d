"""WandbLogger: runs as read from wandb's own files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.utilities import rank_zero_only

from dive.errors import ConfigError, RunError
from dive.loggers import WandbLogger
from dive.runs.metrics_csv import read_metrics
from dive.runs.record import comparable_config, flatten

pytest.importorskip("wandb", reason="pip install -e '.[loggers]'")

LINEAR = ("model=linear_regression", "trainer=cpu", "data.num_train=100", "data.num_val=50", "logger=wandb")
BLOCK, HEADER = 32768, 7  # of the LevelDB log format of wandb's files
FINAL = (1, 4)  # types of chunks that end a record: full and last


def records(run: Path) -> list[Any]:
    """All records of a run in order, over all its starts."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted(run.glob("wandb/*/run-*.wandb")):
        content, at, data = path.read_bytes(), HEADER, b""
        while at + HEADER <= len(content):
            if (left := BLOCK - at % BLOCK) < HEADER:
                at += left
                continue
            length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
            data += content[at + HEADER : at + HEADER + length]
            at += HEADER + length
            if kind in FINAL:
                found.append(Record.FromString(data))
                data = b""
    return found


def starts(run: Path) -> list[Any]:
    return [record.run for record in records(run) if record.WhichOneof("record_type") == "run"]


def exits(run: Path) -> list[int]:
    return [record.exit.exit_code for record in records(run) if record.WhichOneof("record_type") == "exit"]


def rows(run: Path) -> dict[int, dict[str, float]]:
    """The metrics by step, as in metrics.csv."""
    found: dict[int, dict[str, float]] = {}
    for record in records(run):
        if record.WhichOneof("record_type") == "history":
            row = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            step = row.pop("trainer/global_step")
            found.setdefault(step, {}).update({k: v for k, v in row.items() if not k.startswith("_")})
    return found


@pytest.fixture(scope="module")
def finished_run(run_train: Callable[..., Any]) -> Any:
    """A run of train.py."""
    return run_train("logger=wandb")


def test_run_has_metrics_configuration_and_name(finished_run: Any) -> None:
    assert rows(finished_run.directory) == read_metrics(finished_run.directory / "metrics.csv")
    (run,) = starts(finished_run.directory)
    logged = {item.key: json.loads(item.value_json) for item in run.config.update}
    config = yaml.safe_load((finished_run.directory / "config.yaml").read_text())
    assert {k: v for k, v in logged.items() if k != "_wandb"} == dict(flatten(comparable_config(config)))
    assert (run.display_name, run.project) == (finished_run.directory.name, "dive")
    assert exits(finished_run.directory) == [0]


def test_no_network_connections(finished_run: Any) -> None:
    assert finished_run.connections == 0


def test_no_code_machine_data_or_packages_are_recorded(finished_run: Any) -> None:
    kinds = {record.WhichOneof("record_type") for record in records(finished_run.directory)}
    assert kinds <= {"header", "run", "telemetry", "metric", "summary", "history", "exit"}
    files = {path.name for path in finished_run.directory.glob("wandb/*/files/**/*")}
    assert not files & {"requirements.txt", "wandb-metadata.json", "diff.patch", "output.log"}
    assert not starts(finished_run.directory)[0].host


def test_resumed_run_continues_the_same_run(train: Callable[..., Any], folder: Path) -> None:
    first = train(*LINEAR, "trainer.max_epochs=1")
    assert not any(path.is_symlink() for path in first.directory.rglob("*"))  # symlinks would prevent resuming
    train(f"resume={first.directory}", "trainer.max_epochs=3", directory=first.directory)
    assert len({run.run_id for run in starts(first.directory)}) == 1
    assert len(starts(first.directory)) == 2
    assert sorted(step for step, row in rows(first.directory).items() if "val/loss" in row) == [3, 7, 11]


def test_one_process_can_have_several_runs(train: Callable[..., Any], folder: Path) -> None:
    one, two = (train(*LINEAR, "trainer.max_epochs=1", f"seed={seed}").directory for seed in (0, 1))
    assert starts(one)[0].run_id != starts(two)[0].run_id
    assert rows(one)[3]["val/loss"] != rows(two)[3]["val/loss"]


def test_failed_run_has_exit_code_1(train: Callable[..., Any], folder: Path) -> None:
    with pytest.raises(RunError):
        train(*LINEAR, "optimizer.lr=1e30", directory=folder / "run")
    assert exits(folder / "run") == [1]


def test_settings_in_the_run_directory_are_ignored(folder: Path) -> None:
    """Otherwise, resuming a shared run would send metrics and an API key to a server named in it."""
    (folder / "run" / "wandb").mkdir(parents=True)
    (folder / "run" / "wandb" / "settings").write_text(
        "[default]\nbase_url = https://evil.example\nentity = evil\nmode = online\n"
    )
    run = WandbLogger(folder / "run").experiment
    assert "evil" not in f"{run.settings.base_url} {run.settings.entity}"
    assert run.offline
    run.finish()


def test_other_ranks_do_not_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = WandbLogger(folder / "run")
    logger.log_metrics({"val/loss": 1.0}, 0)
    logger.finalize("failed")
    assert not (folder / "run").exists()


def test_invalid_mode_is_a_one_line_error(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "nonsense")
    with pytest.raises(ConfigError, match=r"WANDB_MODE=nonsense: must be offline, online, disabled$"):
        train(*LINEAR)


def test_errors_of_wandb_are_reported_in_one_line(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def fail(**_: Any) -> None:
        raise wandb.Error("no server\nfound")

    monkeypatch.setattr(wandb, "init", fail)
    with pytest.raises(RunError, match=r"^wandb: no server found$"):
        train(*LINEAR)
