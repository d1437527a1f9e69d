"""The context in which a run was made, beside its configuration: code, versions, machine, threads, data."""

import hashlib
from pathlib import Path
from typing import Any

from dive.runs.provenance import describe_code, recorded_code_version
from dive.runs.record import flatten, load_environment, load_result

EXCLUDED = ("pid", "git_revision", "git_dirty")  # the first differs in any two runs; `code` covers the others


def run_context(directory: Path) -> dict[str, Any]:
    """The context that a run has recorded, by name: ``code``, ``python``, ``packages.torch``, ``gpus``, ..."""
    code = recorded_code_version(directory)
    diff = code.partition("\n")[2]
    changes = f" ({hashlib.sha256(diff.encode()).hexdigest()[:8]})" if diff else ""
    return {
        **({"code": describe_code(code) + changes} if code else {}),
        **{name: value for name, value in flatten(load_environment(directory)) if name not in EXCLUDED},
        **{f"data_crc32.{name}": crc for name, crc in load_result(directory).get("data_crc32", {}).items()},
    }


def diff_run_context(one: Path, other: Path) -> list[str]:
    """List the differences in context between two runs, one line per name that both have recorded."""
    before, after = run_context(one), run_context(other)
    return [
        f"{name}: {value} -> {after[name]}"
        for name, value in before.items()
        if name in after and value != after[name]
    ]
