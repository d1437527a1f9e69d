"""Provenance of a run: command, code version, package versions, machine."""

import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dive.errors import CorruptRecordError
from dive.runs.record import load_environment
from dive.runs.record_schema import read_text

MAX_DIFF_BYTES = 2**28
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "tensorboard")


def command() -> str:
    """The command that started this process, quoted for a shell."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def environment() -> dict[str, Any]:
    """Package versions, machine, and git revision (None outside a git checkout)."""
    import torch  # slow; sweeps need only the code version

    return {
        "git_revision": _git("rev-parse", "HEAD"),
        "git_dirty": bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "host": platform.node(),
        "pid": os.getpid(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def code_diff() -> str:
    """The diff of the working tree and the names of untracked files; empty for a clean tree."""
    diff = _git("diff", "--no-ext-diff", "--no-color", "--binary", "HEAD") or ""
    untracked = _git("ls-files", "--others", "--exclude-standard", "--full-name", ":/") or ""
    return diff + "".join(f"untracked: {name}\n" for name in untracked.splitlines())


def code_version() -> str:
    """The current code version: revision, newline, `code_diff`; empty outside a git checkout."""
    revision = _git("rev-parse", "HEAD")
    return f"{revision}\n{code_diff()}" if revision else ""


def describe_code(code: str) -> str:
    """Format a `code_version` for a message.

    >>> describe_code("0123456789"), describe_code("0123456789" + chr(10) + "diff --git")
    ('0123456', '0123456 with changes')
    """
    revision, _, diff = code.partition("\n")
    return revision[:7] + (" with changes" if diff else "")


def recorded_code_version(directory: Path) -> str:
    """The `code_version` that a run recorded in ``environment.json`` and ``code.diff``; empty if there is none."""
    revision = load_environment(directory).get("git_revision")
    with suppress(FileNotFoundError, CorruptRecordError):
        if revision:
            return f"{revision}\n{read_text(directory / 'code.diff', MAX_DIFF_BYTES, errors='replace')}"
    return ""


def _git(*args: str) -> str | None:
    folder = Path(__file__).parent
    try:
        output = subprocess.run(
            ["git", *args], cwd=folder, capture_output=True, text=True, errors="replace", check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return output if args[0] == "diff" else output.strip()
