"""The manifest of a sweep, ``sweep.json``: the parameters that vary and the jobs that were requested."""

import json
from pathlib import Path
from typing import Any

from dive.config.naming import MANIFEST
from dive.errors import RunError


def read_manifest(directory: Path) -> dict[str, Any]:
    """Read ``sweep.json``: the keys in ``varied``, and ``jobs`` by name; both are empty for a new sweep.

    Raises:
        RunError: the file is corrupt, or a job name points outside the sweep directory.
    """
    path = directory / MANIFEST
    try:
        content = json.loads(path.read_text())
        manifest = {"varied": list(content["varied"]), "jobs": dict(content["jobs"])}
    except FileNotFoundError:
        return {"varied": [], "jobs": {}}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise RunError(f"{path} is corrupt ({error}); move it away and rerun: jobs keep their results") from error
    if invalid := [name for name in manifest["jobs"] if name in ("", ".", "..") or Path(name).name != name]:
        raise RunError(f"{path}: {invalid[0]!r} is not a valid job name")
    return manifest
