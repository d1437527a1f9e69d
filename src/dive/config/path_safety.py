"""Values with which a configuration would reach out of its run: refused, whoever takes them."""

import re
from pathlib import Path
from typing import Any


def escapes_run_dir(key: str, value: Any) -> str | None:
    """What a value must be instead; None where it is fine.

    Args:
        key: the full key, as ``callbacks.best.filename``.
        value: what stands there.

    >>> escapes_run_dir("callbacks.best.filename", "best"), escapes_run_dir("callbacks.best.filename", "../best")
    (None, 'must be a name within the run')
    """
    if isinstance(value, str) and "${" in value:
        return "must be without ${: in a configuration that is resolved, it would be resolved once more"
    name = key.rpartition(".")[2]
    if name == "dirpath" and value is not None:
        return "must be null: a run writes into its own directory"
    if name == "filename" and isinstance(value, str) and (Path(value).is_absolute() or ".." in Path(value).parts):
        return "must be a name within the run"
    # "theirs/name" is a project of somebody else.
    if name == "project" and key.startswith("logger.") and not re.fullmatch(r"[\w.-]+", str(value), re.ASCII):
        return "must be a name of letters, digits and . _ -"
    # torch.compile takes the C++ compiler's name from here, and runs it.
    if key.endswith("compile.options") and value is not None:
        return "must be left out: it can name programs to be run"
    return None
