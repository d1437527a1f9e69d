"""What may go wrong through no fault of the code: told in one line, without a traceback."""


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
