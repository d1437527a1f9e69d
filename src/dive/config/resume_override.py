"""What `resume=RUN_DIR` stands for: the run's recorded configuration, if that is a record and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from dive.config.naming import MANIFEST
from dive.errors import RunError


def expand_resume_override(argv: list[str]) -> list[str]:
    """Spell out `resume=RUN_DIR`: the recorded configuration, in the same directory, under the other overrides.

    Args:
        argv: the program and its arguments.

    Raises:
        RunError: the directory holds no run, or one whose files would have others read or written.
    """
    if (recorded := resume_overrides(argv[1:])) is None:
        return argv
    path, overrides = recorded
    return [argv[0], f"--config-path={path}", "--config-name=config", *overrides, "hydra/job_logging=none"]


def resume_overrides(overrides: Sequence[str]) -> tuple[Path, list[str]] | None:
    """The directory of the run to go on with and the overrides of its ``config.yaml``; None without `resume=`.

    Args:
        overrides: as on the command line.

    Raises:
        RunError: as above.
    """
    if any(word.startswith("--config-path=") for word in overrides):
        return None  # it is spelled out already: Lightning starts further processes with the words of the first
    directory = next((word.removeprefix("resume=") for word in overrides if word.startswith("resume=")), None)
    if directory in (None, "", "null"):
        return None
    path = Path(directory).absolute()
    if not (path / "config.yaml").is_file():
        raise RunError(f"resume={directory}: {not_a_run_error(path)}")
    _trust(path)
    quoted = str(path).replace("'", "\\'")
    return path, [
        *(word for word in overrides if not word.startswith("resume=")),
        f"resume='{quoted}'",
        f"hydra.run.dir='{quoted}'",
        "hydra.output_subdir=null",
    ]


def not_a_run_error(path: Path) -> str:
    """Why a path without a ``config.yaml`` below it is no run."""
    if path.is_file():
        return "is a file; name the directory of a run"
    if (path / MANIFEST).is_file():
        return "is a sweep; name the directory of one of its jobs"
    return f"there is no run, {path / 'config.yaml'} does not exist"


def _trust(run: Path) -> None:
    file = run / "config.yaml"
    text = file.read_bytes()
    try:
        recorded: Any = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RunError(f"{file} is damaged ({' '.join(str(error).split())})") from error
    if not isinstance(recorded, dict) or {"hydra", "defaults"} & recorded.keys() or b"@package" in text:
        # Hydra would act on these before dive has checked anything.
        raise RunError(f"resume={run}: {file} is not the record of a run")
    if links := sorted(path for path in run.rglob("*") if path.is_symlink()):
        # Going on would write where they point.
        raise RunError(f"resume={run}: {links[0]} is a link; the files of a run are its own")
