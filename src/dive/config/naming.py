"""Names of sweeps, and of their jobs: the overrides that vary, as a safe directory name."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from dive.errors import RunError

MANIFEST = "sweep.json"  # the file that marks a directory as a sweep

MAX_NAME_LENGTH = 120  # characters; file systems allow 255 bytes, and event and checkpoint files add to it

# Overrides that control how a sweep is run rather than what a job computes.
SWEEP_LEVEL_KEYS = re.compile(r"(hydra[./]|(sweep|launcher|sweeper|resume)[.=])")


def default_sweep_name() -> str:
    """The name of an unnamed sweep: the current time, to the microsecond."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}"


def validate_sweep_name(name: str) -> None:
    """Raise RunError if a sweep cannot have this name, which is also the name of its directory."""
    if not re.fullmatch(r"\w[\w.+-]{0,99}", name, flags=re.ASCII):
        raise RunError(
            f"sweep={name!r}: must consist of at most 100 letters, digits and . _ + -, "
            "and start with a letter, digit or _"
        )


def job_defining_overrides(overrides: Sequence[str]) -> tuple[str, ...]:
    """Select the overrides that define what a job computes.

    >>> job_defining_overrides(["model=mlp", "seed=1", "sweep=lr", "launcher=parallel"])
    ('model=mlp', 'seed=1')
    """
    return tuple(override for override in overrides if not SWEEP_LEVEL_KEYS.match(override.lstrip("+~")))


def job_name(overrides: Mapping[str, str], varied: Collection[str]) -> str:
    """Build the name of a job: ``key=value`` for each key that varies in the sweep, in alphabetical order.

    A name in which characters were replaced, or that was truncated, ends in a hash of the original.

    Args:
        overrides: the job's overrides, as typed, by key.
        varied: the keys that vary; if none of them is overridden, all overrides are used.

    >>> job_name({"model": "mlp", "seed": "0", "optimizer.lr": "0.1"}, {"optimizer.lr", "seed"})
    'optimizer.lr=0.1,seed=0'
    >>> job_name({"data.root": "../x"}, {"data.root"})
    'data.root=.._x~527d3be9'
    """
    chosen = {key: value for key, value in overrides.items() if key in varied} or overrides
    name = ",".join(f"{key}={value}" for key, value in sorted(chosen.items())) or "default"
    safe = re.sub(r"[^\w.,=+\-\[\]]", "_", name, flags=re.ASCII)
    if safe == name and len(safe) <= MAX_NAME_LENGTH:
        return safe
    return f"{safe[: MAX_NAME_LENGTH - 9]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def is_job_name(name: str) -> bool:
    """Whether a directory may be that of a job: `job_name` makes no other names, and Hydra would interpret them.

    >>> is_job_name("optimizer.lr=0.1,seed=0"), is_job_name("${oc.env:HOME}"), is_job_name("..")
    (True, False, False)
    """
    return re.fullmatch(r"(?!\.)[\w.,=+\-\[\]~]+", name, flags=re.ASCII) is not None
