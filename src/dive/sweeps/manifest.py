"""What a sweep's directory says of the sweep: what was asked for."""

import json
from pathlib import Path
from typing import Any

from dive.config.naming import MANIFEST
from dive.errors import RunError


def read_manifest(directory: Path) -> dict[str, Any]:
    """What a sweep's ``sweep.json`` holds: ``varied`` keys, and ``jobs`` by name; both empty for a new sweep.

    Raises:
        RunError: the file is damaged, or names as jobs what is not in the sweep's directory.
    """
    try:
        record = json.loads((directory / MANIFEST).read_text())
        found = {"varied": list(record["varied"]), "jobs": dict(record["jobs"])}
    except FileNotFoundError:
        return {"varied": [], "jobs": {}}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(
            f"{directory / MANIFEST} is damaged ({error}); move it away: the jobs keep their results"
        ) from error
    if strange := [name for name in found["jobs"] if name in ("", ".", "..") or Path(name).name != name]:
        raise RunError(f"{directory / MANIFEST}: {strange[0]!r} is no name of a job")
    return found
