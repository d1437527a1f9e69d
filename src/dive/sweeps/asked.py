"""What was asked for of each job of a sweep, and in what of it they differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dive.recorded import flat, recorded_config
from dive.sweeps.jobs import by_key

DEFAULT = "default"  # a setting that has no short name of its own


def asked(
    directory: Path, jobs: Mapping[str, Sequence[str]], varied: Sequence[str]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What each job has of all that was typed for any of them, and which keys of that vary.

    Args:
        directory: of the sweep.
        jobs: what was typed for each, by name.
        varied: keys that vary within a command; others may vary between commands.

    Returns:
        Values by job and key, as `value_text` has them, and the keys that vary.
    """
    typed = {name: by_key(words) for name, words in jobs.items()}
    keys = dict.fromkeys([*varied, *(key for words in typed.values() for key in words)])
    found = {}
    for name, known in typed.items():
        if not known.keys() >= keys.keys():  # asked for when a key was at its default
            known = dict(flat(recorded_config(directory / name) or {})) | known
        found[name] = {key: value_text(known[key]) if key in known else DEFAULT for key in keys}
    return found, [key for key in keys if key in varied or len({row[key] for row in found.values()}) > 1]


def value_text(value: Any) -> str:
    """A value of a key, the same however it was written, and whether it was typed or stood in the configuration.

    >>> value_text("0.10"), value_text(0.1), value_text("[8, 8]"), value_text([8, 8]), value_text(True)
    ('0.1', '0.1', '[8,8]', '[8,8]', 'true')
    >>> value_text("True"), value_text(None), value_text("null"), value_text({"lr": 0.1})
    ('true', 'null', 'null', 'default')
    """
    if isinstance(value, dict):  # a group of settings that no word names
        return DEFAULT
    if isinstance(value, list):
        return f"[{','.join(value_text(item) for item in value)}]"
    text = "null" if value is None else str(value)
    if text.lower() in ("true", "false"):
        return text.lower()
    if text.lstrip("+-").isdecimal():
        return str(int(text))
    try:
        return f"{float(text):.10g}"
    except ValueError:
        return text.replace(" ", "") if text.startswith("[") else text
