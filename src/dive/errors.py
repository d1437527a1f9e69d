"""User-facing errors: reported as one line, without a traceback."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

# Characters that move the cursor, change colors, reverse text, or cannot be encoded.
CONTROL_CHARACTER = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str, keep: str = "") -> str:
    r"""Escape control characters, except those in `keep`: texts from the records of runs may contain any.

    >>> printable("a\x1b[2J\nb"), printable("a\nb", keep="\n")
    ('a\\x1b[2J\\nb', 'a\nb')
    """

    def escape(found: re.Match[str]) -> str:
        return found[0] if found[0] in keep else ascii(found[0])[1:-1]

    return CONTROL_CHARACTER.sub(escape, text)


class UserError(Exception):
    """A mistake that the user can correct.

    The message is one line, or one line per mistake. It names the key or file and the allowed values.
    """


class ConfigError(UserError):
    """The configuration is invalid."""


class DataError(UserError):
    """A data set is missing, corrupt, or does not match the configuration."""


class RunError(UserError):
    """A run, a sweep or a tuner cannot start, continue or finish."""


class CorruptRecordError(RunError):
    """A file of a run or sweep cannot be read, or has other content than dive writes."""


def did_you_mean(name: str, valid: Sequence[str]) -> str:
    """Format the message for an unknown name: the closest valid name and the list of all valid names.

    >>> did_you_mean("lrr", ["lr", "momentum"])
    "unknown; did you mean 'lr'? Choose from lr, momentum"
    """
    near = get_close_matches(name, valid, n=1)
    return f"unknown; {f'did you mean {near[0]!r}? C' if near else 'c'}hoose from {', '.join(valid)}"


# Packages that only hyperparameter searches and clusters need.
SWEEP_PACKAGES = ("alembic", "hydra_plugins", "joblib", "optuna", "sqlalchemy", "submitit")


def format_error(error: BaseException) -> str:
    """Format an error as one line that says what is wrong and what is allowed, unwrapping Hydra's errors.

    A `UserError` may have several lines. Control characters are escaped.
    """
    return printable(_format_error(error), keep="\n" if isinstance(error, UserError) else "")


def _format_error(error: BaseException) -> str:
    # Imported here because most modules import this one, and not all of them need Hydra.
    from hydra.errors import MissingConfigException, OverrideParseException
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={name}: {did_you_mean(name, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be parsed; quote it: 'KEY=[1, 2]', or for a string: \"KEY='~/a b'\""
    if ambiguous := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
        return (
            f"{ambiguous[1]}: several values need a sweep: python train.py -m ...; a list is written 'KEY=[1,2]'"
        )
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.parent_node is not None:
        if not (keys := sorted(str(key) for key in cause.parent_node)):
            return f"{cause.full_key}: {str(cause.full_key).rpartition('.')[0]} is null and has no keys"
        return f"{cause.full_key}: {did_you_mean(str(cause.key), keys)}"
    if (missing := _missing_package(error)) is not None:
        extra = ".[sweeps]" if missing.partition(".")[0] in SWEEP_PACKAGES else "."
        return f"{missing} is not installed: pip install -e '{extra}'"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(f"{error} {cause or ''}".split())


def _missing_package(error: BaseException | None) -> str | None:
    visited = set()  # an error that a thread stores and raises repeatedly becomes its own context
    while error is not None and id(error) not in visited:
        if isinstance(error, ModuleNotFoundError):
            return error.name
        visited.add(id(error))
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Exit with status 1 and a one-line message on a `UserError` or an `OSError`."""
    try:
        yield
    except (UserError, OSError) as error:
        sys.exit(f"error: {format_error(error)}")
