"""Names of jobs: what varies in them, safe as the name of a directory."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence

MANIFEST = "sweep.json"  # in the directory of a sweep: what makes it one

MAX_NAME_LENGTH = 120  # characters; file systems allow 255 bytes, and events and checkpoints add some

# Overrides that tell how a sweep is run, and not what a job is.
SWEEP_LEVEL_KEYS = re.compile(r"(hydra[./]|(sweep|launcher|sweeper|resume)[.=])")


def job_defining_overrides(words: Sequence[str]) -> tuple[str, ...]:
    """Of the overrides that a job was given, those that make it what it is.

    >>> job_defining_overrides(["model=mlp", "seed=1", "sweep=lr", "launcher=parallel"])
    ('model=mlp', 'seed=1')
    """
    return tuple(word for word in words if not SWEEP_LEVEL_KEYS.match(word.lstrip("+~")))


def job_name(overrides: Mapping[str, str], varied: Collection[str]) -> str:
    """The name of a job: ``key=value`` of what varies in the sweep, in the order of the alphabet.

    A name that had to be changed to be safe, or cut, ends in a digest of what it stood for.

    Args:
        overrides: of the job, values by keys, as typed.
        varied: the keys that vary; where none does, all overrides make the name.

    >>> job_name({"model": "mlp", "seed": "0", "optimizer.lr": "0.1"}, {"optimizer.lr", "seed"})
    'optimizer.lr=0.1,seed=0'
    >>> job_name({"data.root": "../x"}, {"data.root"})
    'data.root=.._x~527d3be9'
    """
    chosen = {key: value for key, value in overrides.items() if key in varied} or overrides
    told = ",".join(f"{key}={value}" for key, value in sorted(chosen.items())) or "default"
    safe = re.sub(r"[^\w.,=+\-\[\]]", "_", told, flags=re.ASCII)
    if safe == told and len(safe) <= MAX_NAME_LENGTH:
        return safe
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    return f"{safe[: MAX_NAME_LENGTH - 9]}~{digest}"
