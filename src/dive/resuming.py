"""What `resume=RUN_DIR` stands for: the run's recorded configuration, if that is a record and nothing else."""

from pathlib import Path
from typing import Any

import yaml

from dive.errors import RunError


def expand_resume(argv: list[str]) -> list[str]:
    """Spell out `resume=RUN_DIR`: the recorded configuration, in the same directory, under the other overrides.

    Args:
        argv: the program and its arguments.

    Raises:
        RunError: the directory holds no run, or one whose files would have others read or written.
    """
    directory = next((arg.removeprefix("resume=") for arg in argv[1:] if arg.startswith("resume=")), None)
    if directory in (None, "", "null"):
        return argv
    path = Path(directory).absolute()
    if not (path / "config.yaml").is_file():
        raise RunError(f"resume={directory}: there is no run, {path / 'config.yaml'} does not exist")
    _trust(path)
    quoted = str(path).replace("'", "\\'")
    return [
        argv[0],
        f"--config-path={path}",
        "--config-name=config",
        *(arg for arg in argv[1:] if not arg.startswith("resume=")),
        f"resume='{quoted}'",
        f"hydra.run.dir='{quoted}'",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
    ]


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
