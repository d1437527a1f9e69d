"""Expand `resume=RUN_DIR` into the recorded configuration of that run, if it is safe to load."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dive.config.naming import MANIFEST
from dive.errors import CorruptRecordError, RunError
from dive.runs.plain_files import require_plain_run
from dive.runs.plain_yaml import config_folder, dump_plain
from dive.runs.record import read_config, without_urls


@contextmanager
def expanded_resume_override(argv: list[str]) -> Iterator[list[str]]:
    """Replace `resume=RUN_DIR` by the recorded configuration and run directory; the other overrides still apply.

    Raises:
        RunError: as in `resume_overrides`.
    """
    with resume_overrides(argv[1:]) as recorded:
        if recorded is None:
            yield argv
        else:
            folder, overrides = recorded
            options = [f"--config-path={folder}", "--config-name=config"]
            yield [argv[0], *options, *overrides, "hydra/job_logging=none"]


@contextmanager
def resume_overrides(overrides: Sequence[str]) -> Iterator[tuple[Path, list[str]] | None]:
    """A temporary folder with the ``config.yaml`` to resume, and overrides for it; None without `resume=`.

    Raises:
        RunError: the directory contains no run, Hydra directives, or files that are not plain, see
            `dive.runs.plain_files`.
    """
    directory = next((o.removeprefix("resume=") for o in overrides if o.startswith("resume=")), None)
    # Lightning starts further processes with the expanded arguments of the first one.
    if directory in (None, "", "null") or any(override.startswith("--config-path=") for override in overrides):
        yield None
        return
    path = Path(directory).absolute()
    if "${" in str(path):
        raise RunError(f"resume={directory}: ${{ in a path is an interpolation in Hydra; rename the folder")
    if not (path / "config.yaml").exists():
        raise RunError(f"resume={directory}: {not_a_run_error(path)}")
    require_plain_run(path)
    try:
        config = read_config(path)
    except CorruptRecordError as error:
        raise RunError(f"resume={directory}: {error}") from error
    # Hydra would act on these before dive can validate anything.
    directives = [*({"hydra", "defaults"} & config.keys()), *(["${"] if "${" in dump_plain(config) else [])]
    if directives:
        raise RunError(
            f"resume={directory}: {path / 'config.yaml'} contains {directives[0]}: "
            "it is not the recorded configuration of a run"
        )
    quoted = str(path).replace("'", "\\'")
    with config_folder(without_urls(config)) as folder:
        yield (
            folder,
            [
                *(override for override in overrides if not override.startswith("resume=")),
                f"resume='{quoted}'",
                f"hydra.run.dir='{quoted}'",
                "hydra.output_subdir=null",
            ],
        )


def not_a_run_error(path: Path) -> str:
    """Explain why a path without a ``config.yaml`` is not a run directory."""
    if path.is_file():
        return "is a file; pass a run directory"
    if (path / MANIFEST).is_file():
        return "is a sweep; pass the directory of one of its jobs"
    return f"not a run directory: {path / 'config.yaml'} does not exist"
