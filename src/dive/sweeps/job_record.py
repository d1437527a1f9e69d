"""The record of one job of a sweep: its result, the version of its data, its command."""

import json
import shlex
import zlib
from pathlib import Path

from dive.errors import CONTROL_CHARACTER, ConfigError, CorruptRecordError, printable
from dive.runs.record import Config, Result, load_result, read_config
from dive.tasks.metric_mode import metric_mode

# Keys of `data` that change how the data are loaded, not what they are.
LOADER_KEYS = (
    "batch_size",
    "seed",
    "shuffle",
    "num_workers",
    "worker_start",
    "root",
    "download",
    "mirror",
    "timeout",
)


def quote_shell(word: str) -> str:
    r"""Quote a word for a shell; with escape sequences if it has control characters.

    >>> quote_shell("a b"), quote_shell("a\x1b[2J")
    ("'a b'", "$'a\\x1b[2J'")
    """
    if CONTROL_CHARACTER.search(word) is None:
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{printable(escaped)}'"


def load_job(directory: Path) -> tuple[Config, Result]:
    """The configuration and result of a job; if a record is corrupt, the status is ``damaged``."""
    try:
        config, result = read_config(directory), load_result(directory)
        if "monitor" in result:
            result["mode"] = metric_mode(result["monitor"], result.get("mode", "auto"))
    except FileNotFoundError:
        return {}, load_result(directory)
    except (CorruptRecordError, ConfigError) as error:
        return {}, {"status": "damaged", "error": str(error)}
    return config, result


def data_source(config: Config) -> str:
    """What determines the data of a job, as text: unless the data changed, jobs with the same text share them."""
    data = config.get("data")
    keys = {key: value for key, value in data.items() if key not in LOADER_KEYS} if isinstance(data, dict) else {}
    return json.dumps(keys, sort_keys=True, default=str)


def data_version(result: Result) -> str | None:
    """A checksum of the data of a job; None if it has not recorded any."""
    checksums = result.get("data_crc32")
    return f"{zlib.crc32(json.dumps(checksums, sort_keys=True).encode()):08x}" if checksums else None
