"""Values that would let a configuration reach outside its run directory; rejected for every class."""

import re
from pathlib import Path
from typing import Any


def escapes_run_dir(key: str, value: Any) -> str | None:
    """Return what an unsafe value must be instead; None if it is safe. `key` is the full dotted key.

    >>> escapes_run_dir("callbacks.best.filename", "best"), escapes_run_dir("callbacks.best.filename", "../best")
    (None, 'must be a path inside the run directory')
    """
    if isinstance(value, str) and "${" in value:
        return "must not contain ${: the configuration is resolved already, and would be resolved a second time"
    name = key.rpartition(".")[2]
    if name == "dirpath" and value is not None:
        return "must be null: a run writes to its own directory"
    if name == "filename" and isinstance(value, str) and (Path(value).is_absolute() or ".." in Path(value).parts):
        return "must be a path inside the run directory"
    # "entity/name" would be a project of another user.
    if name == "project" and key.startswith("logger.") and not re.fullmatch(r"[\w.-]+", str(value), re.ASCII):
        return "must consist of letters, digits and . _ -"
    # torch.compile reads the name of the C++ compiler from its options, and runs it.
    if key.endswith("compile.options") and value is not None:
        return "must be omitted: it can name programs to execute"
    return None
