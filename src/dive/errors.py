"""What may go wrong through no fault of the code: told in one line, without a traceback."""

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


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with exit status 1 and one line where a user's mistake, or a file, is in the way."""
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        sys.exit(f"error: {error.filename}: {error.strerror}")
