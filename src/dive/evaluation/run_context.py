"""How a run came about, beside its configuration: code, versions, machine, threads, data."""

import hashlib
from pathlib import Path
from typing import Any

from dive.runs.provenance import describe_code, recorded_code_version
from dive.runs.record import flatten, load_environment, load_result

OF_EACH = (
    "pid",
    "git_revision",
    "git_dirty",
)  # no two runs share the first, and `code` tells more than the others


def run_context(directory: Path) -> dict[str, Any]:
    """What a run's record says of them, by name: ``code``, ``python``, ``packages.torch``, ``torch_threads``, ...

    Args:
        directory: of the run; what it has not recorded is left out.
    """
    code, diff = recorded_code_version(directory), recorded_code_version(directory).partition("\n")[2]
    changes = f" ({hashlib.sha256(diff.encode()).hexdigest()[:8]})" if diff else ""
    environment = {k: v for k, v in flatten(load_environment(directory)) if k not in OF_EACH}
    data = load_result(directory).get("data_crc32", {})
    return {
        **({"code": describe_code(code) + changes} if code else {}),
        **environment,
        **{f"data_crc32.{split}": digest for split, digest in data.items()},
    }


def diff_run_context(one: Path, other: Path) -> list[str]:
    """How those of two runs differ, one line a name; what one of them has not recorded is not told.

    Args:
        one: directory of a run.
        other: likewise.
    """
    before, after = run_context(one), run_context(other)
    return [
        f"{name}: {then} -> {after[name]}"
        for name, then in before.items()
        if name in after and then != after[name]
    ]
