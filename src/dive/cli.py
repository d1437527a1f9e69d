"""The command line around Hydra: one-line errors, `resume=RUN_DIR`, and sweep names."""

import functools
import inspect
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import read_write
from omegaconf.errors import OmegaConfBaseException

from dive.config.groups import validate_group_choices
from dive.config.naming import default_sweep_name, job_defining_overrides, validate_sweep_name
from dive.config.renamed_keys import validate_override_keys
from dive.config.resume_override import expanded_resume_override
from dive.errors import RunError, UserError, format_error

SWEEP_FLAGS = frozenset({"-m", "--multirun", "hydra.mode=MULTIRUN"})

_USER_ERRORS = (UserError, HydraException, OmegaConfBaseException, OSError, ModuleNotFoundError)


def main_guard(main: Callable[[], object]) -> None:
    """Run Hydra's main function; report user errors as one line and exit with status 1.

    Other errors, and with HYDRA_FULL_ERROR=1 all errors, keep their traceback.
    """
    full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise its errors instead of printing them
    try:
        with expanded_resume_override(validate_argv(assign_sweep_name(sys.argv))) as sys.argv:
            if SWEEP_FLAGS.isdisjoint(sys.argv):
                main()
            else:
                from dive.sweeps.active_session import report_on_exit  # slow to import; single runs do not need it

                with report_on_exit():
                    main()
    except KeyboardInterrupt:  # in a sweep; a single run handles it itself
        sys.exit(130)
    except (*_USER_ERRORS, _PassThroughError, ValueError) as caught:
        error = caught.args[0] if isinstance(caught, _PassThroughError) else caught
        known = isinstance(error, _USER_ERRORS)
        if full_error or not (known or _raised_by_hydra(error)):
            raise error  # noqa: B904  # it is the original error
        sys.exit(f"error: {'' if known else 'an override cannot be applied: '}{format_error(error)}")


def _raised_by_hydra(error: BaseException) -> bool:
    # Hydra and OmegaConf raise plain ValueErrors for some overrides, such as `data.x=[] data.x.y=1`.
    last = inspect.getinnerframes(error.__traceback__)[-1] if error.__traceback__ else None
    return last is not None and last.frame.f_globals.get("__name__", "").startswith(("hydra.", "omegaconf."))


def job_guard(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Pass the errors of a single run through Hydra, which would otherwise print a line of its own.

    A sweep's job leaves its errors to the launcher. While it runs, `sys.argv` is that of the equivalent single
    run.
    """

    @functools.wraps(function)
    def wrapper(config: Any) -> Any:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            with _as_single_run(config["resume"]):
                return function(config)
        try:
            return function(config)
        except _USER_ERRORS as error:
            directory = Path(HydraConfig.get().runtime.output_dir)
            # A run that was rejected before it started has written nothing but Hydra's own files.
            if directory.is_dir() and [path.name for path in directory.iterdir()] == [".hydra"]:
                shutil.rmtree(directory / ".hydra")
                directory.rmdir()
            raise _PassThroughError(error) from error

    return wrapper


@contextmanager
def _as_single_run(resume: str | None) -> Iterator[None]:
    # Lightning starts the further processes of a job (trainer=ddp) with sys.argv and Hydra's run directory.
    hydra, argv = HydraConfig.get(), sys.argv
    sys.argv = [argv[0], *job_defining_overrides(hydra.overrides.task), *([f"resume={resume}"] if resume else [])]
    with read_write(hydra.run):  # type: ignore[arg-type]  # a DictConfig node, which Hydra types as its dataclass
        hydra.run.dir = hydra.runtime.output_dir
    try:
        yield
    finally:
        sys.argv = argv


class _PassThroughError(BaseException):
    """Carries an error through Hydra, which catches every Exception."""


def validate_argv(argv: list[str]) -> list[str]:
    """Check keys and config group options; return the arguments unchanged.

    The overrides of a resumed run are checked later, against its recorded configuration.
    """
    if not any(arg.startswith(("resume=", "--config-path=")) for arg in argv):
        validate_override_keys(argv[1:])
        validate_group_choices(argv[1:])
    return argv


def assign_sweep_name(argv: list[str]) -> list[str]:
    """Add the name of an unnamed sweep; leave single runs unchanged.

    Also move `-m` to the front, because argparse rejects it after overrides.

    Raises:
        RunError: the given name is invalid, or `resume=` is set.
    """
    if SWEEP_FLAGS.isdisjoint(argv):
        return argv
    name = next((arg.removeprefix("sweep=") for arg in argv if arg.startswith("sweep=")), None)
    if any(re.match("resume=.", arg) and arg != "resume=null" for arg in argv):
        raise RunError("resume= resumes a single run; to resume a sweep, rerun its command with sweep=NAME")
    argv = [argv[0], *sorted(argv[1:], key=lambda arg: arg not in SWEEP_FLAGS)]
    if name is None:
        return [*argv, f"sweep={default_sweep_name()}"]
    validate_sweep_name(name)
    return argv
