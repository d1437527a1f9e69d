"""What may go wrong through no fault of the code: told in one line, without a traceback."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that whoever typed the command can mend.

    Its message is one line (or one line a mistake) that names the key or the file and what is allowed.
    """


class ConfigError(UserError):
    """The configuration cannot be run as it stands."""


class DataError(UserError):
    """A data set is missing, damaged or does not fit what was asked of it."""


class RunError(UserError):
    """A run directory cannot be used, or the run in it cannot go on."""


def did_you_mean(name: str, valid: Sequence[str]) -> str:
    """A line for an unknown name: the nearest valid one, and all that there are.

    >>> did_you_mean("lrr", ["lr", "momentum"])
    "unknown; did you mean 'lr'? Choose from lr, momentum"
    """
    near = get_close_matches(name, valid, n=1)
    return f"unknown; {f'did you mean {near[0]!r}? C' if near else 'c'}hoose from {', '.join(valid)}"


# Packages that only searches and clusters need.
SWEEP_PACKAGES = ("alembic", "hydra_plugins", "joblib", "optuna", "sqlalchemy", "submitit")


def format_error(error: BaseException) -> str:
    """What went wrong and what is allowed, without the stack of wrappers around it."""
    # Imported here: most modules import this one, and not all of them need Hydra.
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={name}: {did_you_mean(name, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read; write it in quotes: 'KEY=[1, 2]'; a text: \"KEY='~/a b'\""
    if several := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        return f"{several[1]}: several values make a sweep: python train.py -m ...; or write a list: 'KEY=[1,2]'"
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        if not (keys := sorted(str(key) for key in cause.parent_node)):
            return f"{cause.full_key}: {str(cause.full_key).rpartition('.')[0]} is null, and has no keys"
        return f"{cause.full_key}: {did_you_mean(str(cause.key), keys)}"
    if (missing := _missing_package(error)) is not None:
        extra = ".[sweeps]" if missing.partition(".")[0] in SWEEP_PACKAGES else "."
        return f"{missing} is not installed: pip install -e '{extra}'"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(f"{error} {cause or ''}".split())


def _missing_package(error: BaseException | None) -> str | None:
    looked_at = set()  # an error that a thread keeps, and raises time and again, comes to be its own context
    while error is not None and id(error) not in looked_at:
        if isinstance(error, ModuleNotFoundError):
            return error.name
        looked_at.add(id(error))
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with exit status 1 and one line where a user's mistake, or a file, is in the way."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
