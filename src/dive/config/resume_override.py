"""Expand `resume=RUN_DIR` into the recorded configuration of that run, if it is safe to load."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dive.config.naming import MANIFEST
from dive.errors import RunError


def expand_resume_override(argv: list[str]) -> list[str]:
    """Replace `resume=RUN_DIR` by the recorded configuration and run directory; the other overrides still apply.

    Raises:
        RunError: the directory contains no run, or files that would make Hydra or the run touch other files.
    """
    if (recorded := resume_overrides(argv[1:])) is None:
        return argv
    path, overrides = recorded
    return [argv[0], f"--config-path={path}", "--config-name=config", *overrides, "hydra/job_logging=none"]


def resume_overrides(overrides: Sequence[str]) -> tuple[Path, list[str]] | None:
    """Return the directory of the run to resume and the overrides for its ``config.yaml``; None without `resume=`.

    Raises:
        RunError: as in `expand_resume_override`.
    """
    if any(override.startswith("--config-path=") for override in overrides):
        return None  # expanded already: Lightning starts further processes with the arguments of the first
    directory = next((o.removeprefix("resume=") for o in overrides if o.startswith("resume=")), None)
    if directory in (None, "", "null"):
        return None
    path = Path(directory).absolute()
    if not (path / "config.yaml").is_file():
        raise RunError(f"resume={directory}: {not_a_run_error(path)}")
    _validate_run_dir(path)
    quoted = str(path).replace("'", "\\'")
    return path, [
        *(override for override in overrides if not override.startswith("resume=")),
        f"resume='{quoted}'",
        f"hydra.run.dir='{quoted}'",
        "hydra.output_subdir=null",
    ]


def not_a_run_error(path: Path) -> str:
    """Explain why a path without a ``config.yaml`` is not a run directory."""
    if path.is_file():
        return "is a file; pass a run directory"
    if (path / MANIFEST).is_file():
        return "is a sweep; pass the directory of one of its jobs"
    return f"not a run directory: {path / 'config.yaml'} does not exist"


def _validate_run_dir(run: Path) -> None:
    file = run / "config.yaml"
    content = file.read_bytes()
    try:
        recorded: Any = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{file} is corrupt ({' '.join(str(error).split())})") from error
    if not isinstance(recorded, dict) or {"hydra", "defaults"} & recorded.keys() or b"@package" in content:
        # Hydra would act on these before dive can validate anything.
        raise RunError(f"resume={run}: {file} is not the recorded configuration of a run")
    if links := sorted(path for path in run.rglob("*") if path.is_symlink()):
        # The resumed run would write to their targets.
        raise RunError(f"resume={run}: {links[0]} is a symbolic link; a run directory must not contain any")
