"""The jobs of a sweep for TensorBoard's HParams: what varies, and what came of it."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from google.protobuf.struct_pb2 import Value
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from dive.runs.atomic_io import atomic_write
from dive.sweeps.job import HPARAMS_FILE
from dive.sweeps.results_table import METRICS, SweepTable

# What TensorBoard calls how a job has ended.
STATUS = {
    "finished": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "killed": api_pb2.STATUS_FAILURE,
    "running": api_pb2.STATUS_RUNNING,
}

# Of what a run has logged, what it is judged by.
OUTCOME_PREFIXES = ("train", "val", "test", "error")


def write_hparams(table: SweepTable) -> None:
    """Write into each job's directory what HParams shows of it: what varies, best and final metrics, status.

    All jobs get the same columns, whenever they were run and whatever became of them: where something is missing,
    TensorBoard leaves gaps, and drops rows and axes. A metric that a job does not have is NaN.

    Args:
        table: of the sweep.
    """
    keys = {key: to_protobuf_values(table.jobs[key]) for key in table.varied}
    # HParams shows the first ones, until others are chosen.
    metrics = sorted(
        filter(is_outcome_metric, table.jobs.columns), key=lambda c: not c.endswith(f" {table.monitor}")
    )
    experiment = api_pb2.Experiment(
        hparam_infos=[hparam_info(key, values) for key, values in keys.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag(column)), display_name=column) for column in metrics
        ],
    )
    for i, job in enumerate(table.jobs.to_dict("records")):
        directory = table.directory / str(job["job"])
        if directory.is_dir() and not directory.is_symlink():  # a link may lead anywhere
            values = {key: values[i] for key, values in keys.items()}
            scalars = {tag(column): math.nan if pd.isna(job[column]) else job[column] for column in metrics}
            told = events(experiment, values, str(job["status"]), scalars, finish_time(directory))
            if not (path := directory / HPARAMS_FILE).exists() or path.read_bytes() != told:
                atomic_write(path, told)


def is_outcome_metric(column: str) -> bool:
    """Whether a column of the table is a metric to be shown.

    >>> is_outcome_metric("best val/acc"), is_outcome_metric("final train/samples_per_second"), is_outcome_metric("score")
    (True, False, False)
    """
    which, _, metric = column.partition(" ")
    kind, _, name = metric.partition("/")
    return which in METRICS and kind in OUTCOME_PREFIXES and name != "samples_per_second"


def tag(column: str) -> str:
    """What TensorBoard calls a column among a run's curves."""
    return f"outcome/{column}"


def to_protobuf_values(column: pd.Series) -> list[Value]:
    """The values of a key, one a job: all numbers, or else all texts.

    >>> to_protobuf_values(pd.Series(["0.1", "1"]))[1].number_value, to_protobuf_values(pd.Series(["0.1", "null"]))[0].string_value
    (1.0, '0.1')
    """
    numbers = pd.to_numeric(column, errors="coerce")
    if all(map(math.isfinite, numbers)):
        return [Value(number_value=number) for number in numbers]
    return [Value(string_value=text) for text in column.astype(str)]


def hparam_info(key: str, values: Sequence[Value]) -> api_pb2.HParamInfo:
    """What HParams is told of a key."""
    numeric = all(value.HasField("number_value") for value in values)
    info = api_pb2.HParamInfo(
        name=key, type=api_pb2.DATA_TYPE_FLOAT64 if numeric else api_pb2.DATA_TYPE_STRING, differs=True
    )
    for value in [] if numeric else sorted({value.string_value for value in values}):
        info.domain_discrete.values.add(string_value=value)
    return info


def finish_time(directory: Path) -> float:
    """When a job came to its result, in seconds of the clock; 0 without one."""
    result = directory / "result.json"
    return result.stat().st_mtime if result.exists() else 0.0


def events(
    experiment: api_pb2.Experiment,
    values: Mapping[str, Value],
    status: str,
    scalars: Mapping[str, float],
    ended: float,
) -> bytes:
    """An event file that tells of one job.

    Args:
        experiment: the columns.
        values: of the keys.
        status: of the job, as its result has it.
        scalars: metrics by tag.
        ended: when, in seconds of the clock.
    """
    start, end = SessionStartInfo(), SessionEndInfo(status=STATUS.get(status, api_pb2.STATUS_UNKNOWN))
    for key, value in values.items():
        start.hparams[key].CopyFrom(value)
    told = {
        metadata.EXPERIMENT_TAG: HParamsPluginData(experiment=experiment),
        metadata.SESSION_START_INFO_TAG: HParamsPluginData(session_start_info=start),
        metadata.SESSION_END_INFO_TAG: HParamsPluginData(session_end_info=end),
    }
    about = [
        Summary.Value(tag=name, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
        for name, data in told.items()
    ]
    numbers = [Summary.Value(tag=name, simple_value=number) for name, number in scalars.items()]
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in (
        Event(wall_time=ended, file_version="brain.Event:2"),
        Event(wall_time=ended, summary=Summary(value=[*about, *numbers])),
    ):
        writer.write(event.SerializeToString())
    return file.getvalue()
