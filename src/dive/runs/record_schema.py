"""What the JSON files of a run or sweep may contain: anybody may have edited or damaged them."""

import json
from pathlib import Path
from typing import Any, Literal, NoReturn, Required, TypedDict

from dive.errors import CorruptRecordError, printable

MAX_BYTES = 2**24  # a thousand times the size of a usual record
MAX_DIGITS = 15  # of an integer, so that it is exact as a float
MAX_VALUE = 1e100  # differences of larger values would be infinite, which no plot can show

Number = int | float | None  # null stands for NaN, which JSON does not have


class ResultRecord(TypedDict, total=False):
    """``result.json`` of a run."""

    status: Required[Literal["finished", "failed", "interrupted", "killed"]]
    error: str | None
    model: str
    data: str
    data_crc32: dict[str, str]
    seed: int | None
    monitor: str
    mode: Literal["min", "max", "auto"]
    score: Number
    best_epoch: int | None
    best_step: int | None
    metrics: dict[Literal["best", "final"], dict[str, Number]]
    epochs: int
    steps: int
    train_seconds: Number
    samples_per_second: Number
    seconds: Number
    peak_memory_mb: dict[str, Number]
    suggested_lr: Number
    suggested_batch_size: Number


class EnvironmentRecord(TypedDict, total=False):
    """``environment.json`` of a run; see `dive.runs.provenance.environment`."""

    git_revision: str | None
    git_dirty: bool
    python: str
    packages: dict[str, str]
    platform: str
    host: str
    pid: int
    cpu_count: int | None
    torch_threads: int
    gpus: list[str]


class JobRecord(TypedDict):
    """A job in ``sweep.json``."""

    number: int
    overrides: list[str]


class ManifestRecord(TypedDict):
    """``sweep.json`` of a sweep."""

    varied: list[str]
    jobs: dict[str, JobRecord]


def read_text(path: Path, max_bytes: int = MAX_BYTES, errors: str = "strict") -> str:
    """Read a text file that is part of a record, as UTF-8; `errors` is that of `bytes.decode`.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptRecordError: it is not a regular file, cannot be read, is too large, or is not UTF-8.
    """
    try:
        if path.exists() and not path.is_file():
            raise CorruptRecordError(f"{path} is corrupt: it is not a file")
        if (size := path.stat().st_size) > max_bytes:
            raise CorruptRecordError(f"{path} is corrupt: it has {size} bytes, more than {max_bytes}")
        return path.read_text("utf-8", errors)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise CorruptRecordError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CorruptRecordError(f"{path} is corrupt: it is not UTF-8 text") from error


def read_json(path: Path, schema: Any) -> dict[str, Any]:
    """Read a record with one of the schemas above; control characters in its texts are escaped.

    Keys that the schema does not have are dropped.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptRecordError: it is not a record of this kind.
    """
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type  # slow to import

    text = read_text(path)
    try:
        content = json.loads(text, parse_constant=_reject_constant, parse_float=_finite, parse_int=_short)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise CorruptRecordError(f"{path} is corrupt: {reason}") from error
    if not isinstance(content, dict):
        raise CorruptRecordError(f"{path} is corrupt: it is not a mapping")
    record = _printable({key: value for key, value in content.items() if key in schema.__annotations__})
    try:
        check_type(record, schema, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError as error:
        raise CorruptRecordError(f"{path} is corrupt: {printable(' '.join(str(error).split()))}") from error
    return record


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(text: str) -> float:
    if not abs(value := float(text)) <= MAX_VALUE:
        raise ValueError(f"{text} is too large")
    return value


def _short(text: str) -> int:
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"an integer has more than {MAX_DIGITS} digits")
    return int(text)


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value, keep="\n\t") if isinstance(value, str) else value
