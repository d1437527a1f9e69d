"""The command line around Hydra's: errors in one line, `resume=RUN_DIR`, and names of sweeps."""

import functools
import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import read_write
from omegaconf.errors import OmegaConfBaseException

from dive.config.groups import validate_group_choices
from dive.config.naming import job_defining_overrides
from dive.config.renamed_keys import validate_override_keys
from dive.config.resume_override import expand_resume_override
from dive.errors import RunError, UserError, format_error

# What makes a command that of a sweep.
SWEEP_FLAGS = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})

_USER_ERRORS = (UserError, HydraException, OmegaConfBaseException, OSError, ModuleNotFoundError)


def main_guard(main: Callable[[], object]) -> None:
    """Run Hydra's main function; end a user's mistake with one line and exit status 1.

    Everything else, and with HYDRA_FULL_ERROR=1 every error, keeps its traceback.
    """
    traceback_wanted = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves its errors to us
    try:
        sys.argv = expand_resume_override(validate_argv(assign_sweep_name(sys.argv)))
        if SWEEP_FLAGS.isdisjoint(sys.argv):
            main()
        else:
            from dive.sweeps.active_session import report_on_exit  # a single run need not wait for it

            with report_on_exit():
                main()
    except KeyboardInterrupt:  # of a sweep: a single run tells of it itself
        sys.exit(130)
    except (*_USER_ERRORS, _PassThroughError, ValueError) as error:
        mistake = error.args[0] if isinstance(error, _PassThroughError) else error
        if traceback_wanted or not (isinstance(mistake, _USER_ERRORS) or _raised_by_hydra(mistake)):
            raise mistake  # noqa: B904  # it is the cause itself
        sys.exit(f"error: {format_error(mistake)}")


def _raised_by_hydra(error: BaseException) -> bool:
    # Some of its complaints about the command line, as of `model=3`, are plain ValueErrors.
    last = inspect.getinnerframes(error.__traceback__)[-1] if error.__traceback__ else None
    return last is not None and last.frame.f_globals.get("__name__", "").startswith("hydra.")


def job_guard(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a single run's mistake pass through Hydra, which would add a line of its own.

    A job of a sweep leaves its mistakes to the launcher, and looks like the command that runs it alone.
    """

    @functools.wraps(function)
    def guarded(config: Any) -> Any:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            with _as_single_run(config["resume"]):
                return function(config)
        try:
            return function(config)
        except _USER_ERRORS as error:
            _remove_empty_run_dir(Path(HydraConfig.get().runtime.output_dir))
            raise _PassThroughError(error) from error

    return guarded


def _remove_empty_run_dir(directory: Path) -> None:
    # Of a run that was refused before it began, there is only what Hydra has noted in its directory.
    if directory.is_dir() and [path.name for path in directory.iterdir()] == [".hydra"]:
        shutil.rmtree(directory / ".hydra")
        directory.rmdir()


@contextmanager
def _as_single_run(resume: str | None) -> Iterator[None]:
    # Lightning starts further processes of a job (trainer=ddp) from this command line and Hydra's run directory.
    hydra, argv = HydraConfig.get(), sys.argv
    sys.argv = [argv[0], *job_defining_overrides(hydra.overrides.task), *([f"resume={resume}"] if resume else [])]
    with read_write(hydra.run):  # type: ignore[arg-type]  # it is a node, that Hydra types by its contents
        hydra.run.dir = hydra.runtime.output_dir
    try:
        yield
    finally:
        sys.argv = argv


class _PassThroughError(BaseException):
    """Carries an error past Hydra, which catches every Exception."""


def validate_argv(argv: list[str]) -> list[str]:
    """What was typed, if each group has a name; what goes on with a run has keys in their place."""
    if not any(word.startswith(("resume=", "--config-path=")) for word in argv):
        validate_override_keys(argv[1:])
        validate_group_choices(argv[1:])
    return argv


def assign_sweep_name(argv: list[str]) -> list[str]:
    """Name a sweep that has no name by the time, to the microsecond; and say first that it is one.

    After overrides, `-m` would be one word too many to argparse.

    Args:
        argv: the program and its arguments.

    Raises:
        RunError: the name given could not be that of a directory, or a run is to be gone on with.
    """
    if SWEEP_FLAGS.isdisjoint(argv):
        return argv
    name = next((arg.removeprefix("sweep=") for arg in argv if arg.startswith("sweep=")), None)
    if any(re.match("resume=.", arg) and arg != "resume=null" for arg in argv):
        raise RunError("resume= goes on with one run; a sweep goes on when it is said again, with its sweep=NAME")
    argv = [argv[0], *sorted(argv[1:], key=lambda word: word not in SWEEP_FLAGS)]
    if name is None:
        return [*argv, f"sweep={datetime.now():%Y-%m-%d_%H-%M-%S-%f}"]
    if not re.fullmatch(r"\w[\w.+-]{0,99}", name, flags=re.ASCII):
        raise RunError(f"sweep={name!r}: a name is of letters, digits, and . _ + - and at most 100 of them")
    return argv
