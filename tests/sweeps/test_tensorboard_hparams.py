"""The HParams of a sweep as read by TensorBoard's own backend."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import struct_pb2
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from dive.sweeps import report, tensorboard_hparams
from dive.sweeps.job import HPARAMS_FILE, archive_run
from dive.sweeps.results_table import load_table

STATUSES = [api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_RUNNING]


class HParamsTab:
    """The contents of the HParams tab for a directory of runs."""

    def __init__(self, folder: Path) -> None:
        multiplexer = EventMultiplexer().AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        provider = MultiplexerDataProvider(multiplexer, str(folder))
        context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
        arguments: tuple[Any, ...] = (RequestContext(), context, "")
        metadata = context.hparams_metadata(RequestContext(), "")
        hparams = context.hparams_from_data_provider(RequestContext(), "", None)
        self.experiment = context.experiment_from_metadata(RequestContext(), "", True, metadata, hparams)
        columns = [
            *(api_pb2.ColParams(hparam=info.name) for info in self.experiment.hparam_infos),
            *(api_pb2.ColParams(metric=info.name) for info in self.experiment.metric_infos),
        ]
        request = api_pb2.ListSessionGroupsRequest(
            allowed_statuses=STATUSES, col_params=columns, start_index=0, slice_size=99
        )
        self.groups = list_session_groups.Handler(*arguments, request).run().session_groups

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """The cells of each job: hyperparameters, and metrics by display name."""
        names = {info.name.tag: info.display_name for info in self.experiment.metric_infos}
        return {
            group.sessions[0].name: {
                **{key: to_python(value) for key, value in group.hparams.items()},
                **{names[metric.name.tag]: metric.value for metric in group.metric_values},
            }
            for group in self.groups
        }


def to_python(value: struct_pb2.Value) -> Any:
    return getattr(value, str(value.WhichOneof("kind")))


Build = Callable[[], Path]


@pytest.fixture
def sweep(sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]) -> Build:
    """Two finished jobs, one that failed after two epochs, one killed before the first, and one not started."""

    def build() -> Path:
        jobs: dict[str, list[str]] = {}
        for lr, activation in (("0.1", "relu"), ("1e-3", "tanh"), ("3", "relu"), ("4", "tanh"), ("5", "relu")):
            jobs[f"lr={lr},model.activation={activation}"] = [f"lr={lr}", f"model.activation={activation}"]
        first, second, failed, killed, _ = jobs
        fake_run(first, {"lr": 0.1, "monitor": "val/acc"}, score=0.5)
        fake_run(second, {"lr": 0.001, "monitor": "val/acc"}, score=0.75)
        fake_run(failed, {"lr": 3.0, "monitor": "val/acc"}, status="failed", error="NaN", curve=[0.25, 0.125])
        fake_run(killed, {"lr": 4.0, "monitor": "val/acc"}, status="killed", error="killed by SIGKILL")
        write_manifest(["lr", "model.activation"], jobs)
        return sweep_dir

    return build


def test_columns_are_varied_keys_and_metrics_with_the_monitored_metric_first(sweep: Build) -> None:
    directory = sweep()
    tensorboard_hparams.write_hparams(load_table(directory))
    experiment = HParamsTab(directory).experiment
    assert [(info.name, info.type) for info in experiment.hparam_infos] == [
        ("lr", api_pb2.DATA_TYPE_FLOAT64),
        ("model.activation", api_pb2.DATA_TYPE_STRING),
    ]
    assert list(experiment.hparam_infos[1].domain_discrete) == ["relu", "tanh"]
    assert [info.display_name for info in experiment.metric_infos] == [
        "best val/acc", "final val/acc", "best val/loss",
    ]  # fmt: skip


def test_each_job_is_a_row_with_all_columns(sweep: Build) -> None:
    directory = sweep()
    tensorboard_hparams.write_hparams(load_table(directory))
    columns = ("lr", "model.activation", "best val/acc", "final val/acc", "best val/loss")
    nan = pytest.approx(math.nan, nan_ok=True)
    assert {
        name: tuple(row[column] for column in columns) for name, row in HParamsTab(directory).rows.items()
    } == {
        "lr=0.1,model.activation=relu": (0.1, "relu", 0.5, 0.125, 0.25),
        "lr=1e-3,model.activation=tanh": (0.001, "tanh", 0.75, 0.125, 0.25),
        "lr=3,model.activation=relu": (3.0, "relu", 0.25, 0.125, nan),
        "lr=4,model.activation=tanh": (4.0, "tanh", nan, nan, nan),
    }


def test_status_of_each_job(sweep: Build) -> None:
    directory = sweep()
    tensorboard_hparams.write_hparams(load_table(directory))
    statuses = {group.sessions[0].name[:6]: group.sessions[0].status for group in HParamsTab(directory).groups}
    assert statuses == {
        "lr=0.1": api_pb2.STATUS_SUCCESS,
        "lr=1e-": api_pb2.STATUS_SUCCESS,
        "lr=3,m": api_pb2.STATUS_FAILURE,
        "lr=4,m": api_pb2.STATUS_FAILURE,
    }


def test_job_that_has_not_started_gets_no_directory(sweep: Build) -> None:
    directory = sweep()
    tensorboard_hparams.write_hparams(load_table(directory))
    assert not (directory / "lr=5,model.activation=relu").exists()


def test_null_among_numbers_makes_all_values_strings(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    for value in ("null", "0.5"):
        fake_run(f"clip={value}", {"clip": value}, score=0.5)
    write_manifest(["clip"], {f"clip={value}": [f"clip={value}"] for value in ("null", "0.5")})
    tensorboard_hparams.write_hparams(load_table(sweep_dir))
    assert {row["clip"] for row in HParamsTab(sweep_dir).rows.values()} == {"null", "0.5"}


def test_key_that_varies_later_is_a_column_of_all_jobs(
    sweep_dir: Path, fake_run: Callable[..., Path], write_manifest: Callable[..., None]
) -> None:
    fake_run("seed=0", {"seed": 0, "lr": 0.1}, score=0.5)
    write_manifest(["seed"], {"seed=0": ["seed=0"]})
    report.write_report(sweep_dir)
    assert HParamsTab(sweep_dir).rows["seed=0"].keys() & {"seed", "lr"} == {"seed"}
    fake_run("lr=0.3,seed=0", {"seed": 0, "lr": 0.3}, score=0.5)
    write_manifest(["seed", "lr"], {"seed=0": ["seed=0"], "lr=0.3,seed=0": ["seed=0", "lr=0.3"]})
    report.write_report(sweep_dir)
    assert {name: (row["seed"], row["lr"]) for name, row in HParamsTab(sweep_dir).rows.items()} == {
        "seed=0": (0, 0.1),
        "lr=0.3,seed=0": (0, 0.3),
    }


def test_metrics_are_in_a_separate_event_file_that_is_rewritten_only_on_change(sweep: Build) -> None:
    directory = sweep()
    tensorboard_hparams.write_hparams(load_table(directory))
    file = directory / "lr=0.1,model.activation=relu" / HPARAMS_FILE
    os.utime(file, (0, 0))
    tensorboard_hparams.write_hparams(load_table(directory))
    assert file.stat().st_mtime == 0  # unchanged content is not rewritten
    events = EventAccumulator(str(directory / "lr=0.1,model.activation=relu")).Reload()
    assert {tag: events.Scalars(tag)[0].value for tag in events.Tags()["scalars"]} == {
        "outcome/best val/acc": 0.5,
        "outcome/final val/acc": 0.125,
        "outcome/best val/loss": 0.25,
    }


def test_archived_run_is_not_a_row(sweep: Build) -> None:
    directory = sweep()
    tensorboard_hparams.write_hparams(load_table(directory))
    archive_run(directory / "lr=0.1,model.activation=relu")
    assert list(HParamsTab(directory).rows) == [
        name for name in HParamsTab(directory).rows if ".earlier" not in name
    ]
    assert len(HParamsTab(directory).rows) == 3
