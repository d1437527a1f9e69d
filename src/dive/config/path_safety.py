"""Values that would let a configuration reach outside its run directory; rejected for every class."""

import re
from typing import Any

# Arguments of allowed classes that name a file, a folder or a server, and what limits them. A test searches the
# signatures of all allowed classes for others.
PATH_ARGUMENTS = {
    "default_root_dir": "set by dive: the run directory",
    "dirpath": "must be null",
    "filename": "a plain file name",
    "mirror": "http(s) only, verified by SHA-256; that of a recorded run is not used",
    "path": "read only",
    "root": "the folder of downloaded data",
    "save_dir": "set by dive: the run directory",
}

# Letters, digits and some signs, and metrics in braces, whose format can only give digits.
FILE_NAME = re.compile(r"(?!\.)([\w.=+ -]|\{\w[\w -]*(/\w[\w -]*)*(:\d*(\.\d+)?[defg]?)?\})*", re.ASCII)


def escapes_run_dir(key: str, value: Any) -> str | None:
    """Return what an unsafe value must be instead; None if it is safe. `key` is the full dotted key.

    >>> escapes_run_dir("callbacks.best.filename", "best"), escapes_run_dir("callbacks.best.filename", "../best")
    (None, "must be a plain file name, such as 'best' or '{epoch:02d}-{val/loss:.3f}'")
    """
    if isinstance(value, str) and "${" in value:
        return "must not contain ${: the configuration is resolved already, and would be resolved a second time"
    name = key.rpartition(".")[2]
    if name == "dirpath" and value is not None:
        return "must be null: a run writes to its own directory"
    if name == "filename" and isinstance(value, str) and not FILE_NAME.fullmatch(value):
        return "must be a plain file name, such as 'best' or '{epoch:02d}-{val/loss:.3f}'"
    # "entity/name" would be a project of another user.
    if name == "project" and key.startswith("logger.") and not re.fullmatch(r"[\w.-]+", str(value), re.ASCII):
        return "must consist of letters, digits and . _ -"
    # torch.compile reads the name of the C++ compiler from its options, and runs it.
    if key.endswith("compile.options") and value is not None:
        return "must be omitted: it can name programs to execute"
    return None
