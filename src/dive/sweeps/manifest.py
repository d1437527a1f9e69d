"""The manifest of a sweep, ``sweep.json``: the parameters that vary and the jobs that were requested."""

from pathlib import Path
from typing import Any

from dive.config.naming import MANIFEST, is_job_name
from dive.errors import CorruptRecordError, RunError
from dive.runs.record_schema import ManifestRecord, read_json
from dive.sweeps.job import overrides_by_key

# Columns of the report that no key of a configuration has the name of.
REPORT_COLUMNS = ("job", "others", "status", "score", "seconds", "error", "command", "mean", "std", "n", "count")


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read ``sweep.json``: the keys in ``varied``, and ``jobs`` by name; both are empty for a new sweep.

    Raises:
        RunError: the file is damaged, or a job name points outside the sweep directory.
    """
    path = directory / MANIFEST
    try:
        manifest = read_json(path, ManifestRecord)
    except FileNotFoundError:
        return {"varied": [], "jobs": {}}
    except CorruptRecordError as error:
        raise RunError(f"{error}; move it away and rerun: jobs keep their results") from error
    if invalid := [name for name in manifest["jobs"] if not is_job_name(name)]:
        raise RunError(f"{path}: {invalid[0]!r} is not a valid job name")
    varied = manifest["varied"]
    overridden = [key for job in manifest["jobs"].values() for key in overrides_by_key(job["overrides"])]
    invalid = [key for key in {*varied, *overridden} if key in REPORT_COLUMNS or " " in key]
    if invalid := invalid or [key for key in varied if varied.count(key) > 1]:
        raise RunError(
            f"{path} is corrupt: {invalid[0]!r} is not a key that varies, or is listed twice; "
            "move it away and rerun: jobs keep their results"
        )
    return manifest
