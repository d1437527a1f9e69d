"""The parameters of each job of a sweep, and which of them vary."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dive.errors import printable
from dive.runs.record import flatten, load_config
from dive.sweeps.job import overrides_by_key

DEFAULT_LABEL = "default"  # shown for a group of settings, which has no single value


def job_parameters(
    directory: Path, jobs: Mapping[str, Sequence[str]], varied: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Collect the value of every overridden key for every job, and find the keys that vary.

    `jobs` holds the overrides of each job. The keys in `varied` vary within one command; others may vary between
    commands.

    Returns:
        Values by job and key, formatted by `format_value`, and the keys that vary.
    """
    overrides = {name: overrides_by_key(words) for name, words in jobs.items()}
    keys = dict.fromkeys([*varied, *(key for values in overrides.values() for key in values)])
    parameters = {}
    for name, values in overrides.items():
        if not values.keys() >= keys.keys():  # this job used the default of some key
            values = dict(flatten(load_config(directory / name) or {})) | values
        parameters[name] = {key: format_value(values[key]) if key in values else DEFAULT_LABEL for key in keys}
    return parameters, [key for key in keys if key in varied or len({row[key] for row in parameters.values()}) > 1]


def format_value(value: Any) -> str:
    """Format a value so that equal values look equal, whether typed as an override or read from a configuration.

    >>> format_value("0.10"), format_value(0.1), format_value("[8, 8]"), format_value([8, 8]), format_value(True)
    ('0.1', '0.1', '[8,8]', '[8,8]', 'true')
    >>> format_value("True"), format_value(None), format_value("null"), format_value({"lr": 0.1})
    ('true', 'null', 'null', 'default')
    """
    if isinstance(value, dict):  # a config group that was not overridden
        return DEFAULT_LABEL
    if isinstance(value, list):
        return f"[{','.join(format_value(item) for item in value)}]"
    text = "null" if value is None else printable(str(value))
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        return str(int(text)) if text.lstrip("+-").isdecimal() else f"{float(text):.10g}"
    except ValueError:
        return text.replace(" ", "") if text.startswith("[") else text
