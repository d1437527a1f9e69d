"""The jobs of a sweep in TensorBoard's HParams tab: varied keys as hyperparameters, and the resulting metrics.

TensorBoard's own helpers for this (`tensorboard.plugins.hparams.summary`) need TensorFlow.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from google.protobuf.struct_pb2 import ListValue, Value
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from dive.runs.atomic_io import atomic_write
from dive.sweeps.job import HPARAMS_FILE
from dive.sweeps.results_table import METRICS, SweepTable

# TensorBoard's session status by the status of a job.
STATUS = {
    "finished": api_pb2.STATUS_SUCCESS,
    "failed": api_pb2.STATUS_FAILURE,
    "killed": api_pb2.STATUS_FAILURE,
    "running": api_pb2.STATUS_RUNNING,
}

# First part of the names of metrics that measure a model.
OUTCOME_PREFIXES = ("train", "val", "test", "error")


def write_hparams(table: SweepTable) -> None:
    """Write an HParams event file into each run directory: varied keys, best and final metrics, status.

    All jobs get the same columns, whenever and however they ended: TensorBoard drops rows and axes with missing
    values. A metric that a job does not have is NaN.
    """
    hparams = {key: to_protobuf_values(table.jobs[key]) for key in table.varied}
    # The tab shows the first metrics by default: those of the monitored metric.
    metrics = sorted(
        filter(is_outcome_metric, table.jobs.columns), key=lambda c: not c.endswith(f" {table.monitor}")
    )
    experiment = api_pb2.Experiment(
        hparam_infos=[hparam_info(key, values) for key, values in hparams.items()],
        metric_infos=[
            api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"outcome/{column}"), display_name=column)
            for column in metrics
        ],
    )
    for i, job in enumerate(table.jobs.to_dict("records")):
        directory = table.directory / str(job["job"])
        if not directory.is_dir() or directory.is_symlink():  # a link may point outside the sweep
            continue
        start = SessionStartInfo(hparams={key: values[i] for key, values in hparams.items()})
        end = SessionEndInfo(status=STATUS.get(job["status"], api_pb2.STATUS_UNKNOWN))
        plugin_data = {
            metadata.EXPERIMENT_TAG: HParamsPluginData(experiment=experiment),
            metadata.SESSION_START_INFO_TAG: HParamsPluginData(session_start_info=start),
            metadata.SESSION_END_INFO_TAG: HParamsPluginData(session_end_info=end),
        }
        values = [
            Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
            for tag, data in plugin_data.items()
        ]
        for column in metrics:
            scalar = math.nan if pd.isna(job[column]) else job[column]
            values.append(Summary.Value(tag=f"outcome/{column}", simple_value=scalar))
        _write_event_file(directory, Summary(value=values))


def is_outcome_metric(column: str) -> bool:
    """Whether a column of the table is a metric that belongs in the HParams tab.

    >>> [is_outcome_metric(name) for name in ("best val/acc", "final train/samples_per_second", "score")]
    [True, False, False]
    """
    which, _, metric = column.partition(" ")
    prefix, _, name = metric.partition("/")
    return which in METRICS and prefix in OUTCOME_PREFIXES and name != "samples_per_second"


def to_protobuf_values(column: pd.Series) -> list[Value]:
    """Convert the values of a key, one per job: numbers if all are finite numbers, else strings.

    >>> to_protobuf_values(pd.Series(["0.1", "1"]))[1].number_value
    1.0
    >>> to_protobuf_values(pd.Series(["0.1", "null"]))[0].string_value
    '0.1'
    """
    numbers = pd.to_numeric(column, errors="coerce")
    if all(map(math.isfinite, numbers)):
        return [Value(number_value=number) for number in numbers]
    return [Value(string_value=text) for text in column.astype(str)]


def hparam_info(key: str, values: Sequence[Value]) -> api_pb2.HParamInfo:
    """Describe a hyperparameter to TensorBoard: its type, and the domain if its values are strings."""
    if all(value.HasField("number_value") for value in values):
        return api_pb2.HParamInfo(name=key, type=api_pb2.DATA_TYPE_FLOAT64, differs=True)
    domain = [Value(string_value=text) for text in sorted({value.string_value for value in values})]
    return api_pb2.HParamInfo(
        name=key, type=api_pb2.DATA_TYPE_STRING, differs=True, domain_discrete=ListValue(values=domain)
    )


def _write_event_file(directory: Path, summary: Summary) -> None:
    result, path, buffer = directory / "result.json", directory / HPARAMS_FILE, io.BytesIO()
    wall_time = result.stat().st_mtime if result.exists() else 0.0
    writer = RecordWriter(buffer)
    writer.write(Event(wall_time=wall_time, file_version="brain.Event:2").SerializeToString())
    writer.write(Event(wall_time=wall_time, summary=summary).SerializeToString())
    if not path.exists() or path.read_bytes() != buffer.getvalue():  # TensorBoard may be reading it
        atomic_write(path, buffer.getvalue())
