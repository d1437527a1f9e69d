"""What was asked for of each job of a sweep, and in what of it they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dive.runs.record import flatten, load_config
from dive.sweeps.job import overrides_by_key

DEFAULT_LABEL = "default"  # a setting that has no short name of its own


def job_parameters(
    directory: Path, jobs: Mapping[str, Sequence[str]], varied: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What each job has of all that was typed for any of them, and which keys of that vary.

    Args:
        directory: of the sweep.
        jobs: what was typed for each, by name.
        varied: keys that vary within a command; others may vary between commands.

    Returns:
        Values by job and key, as `format_value` has them, and the keys that vary.
    """
    typed = {name: overrides_by_key(words) for name, words in jobs.items()}
    keys = dict.fromkeys([*varied, *(key for words in typed.values() for key in words)])
    found = {}
    for name, known in typed.items():
        if not known.keys() >= keys.keys():  # asked for when a key was at its default
            known = dict(flatten(load_config(directory / name) or {})) | known
        found[name] = {key: format_value(known[key]) if key in known else DEFAULT_LABEL for key in keys}
    return found, [key for key in keys if key in varied or len({row[key] for row in found.values()}) > 1]


def format_value(value: Any) -> str:
    """A value of a key, the same however it was written, and whether it was typed or stood in the configuration.

    >>> format_value("0.10"), format_value(0.1), format_value("[8, 8]"), format_value([8, 8]), format_value(True)
    ('0.1', '0.1', '[8,8]', '[8,8]', 'true')
    >>> format_value("True"), format_value(None), format_value("null"), format_value({"lr": 0.1})
    ('true', 'null', 'null', 'default')
    """
    if isinstance(value, dict):  # a group of settings that no word names
        return DEFAULT_LABEL
    if isinstance(value, list):
        return f"[{','.join(format_value(item) for item in value)}]"
    text = "null" if value is None else str(value)
    if text.lower() in ("true", "false"):
        return text.lower()
    if text.lstrip("+-").isdecimal():
        return str(int(text))
    try:
        return f"{float(text):.10g}"
    except ValueError:
        return text.replace(" ", "") if text.startswith("[") else text
