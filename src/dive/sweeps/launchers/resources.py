"""How the cores and GPUs of this machine are shared among jobs."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from dive.errors import ConfigError


@dataclass(frozen=True)
class ResourceShare:
    """What each of several jobs gets.

    Attributes:
        workers: jobs at a time.
        threads: of torch in each.
        gpus: what CUDA_VISIBLE_DEVICES is to be, by turns; empty where no job wants one.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()

    def __str__(self) -> str:
        gpus = f", {len(self.gpus)} GPUs by turns" if self.gpus else ""
        return f"{self.workers} at a time, {self.threads} threads each{gpus}"


def allocate(workers: int | None, accelerators: Sequence[str | None]) -> ResourceShare:
    """Divide the machine.

    Args:
        workers: jobs at a time; None for one a GPU where jobs want GPUs, else one a core.
        accelerators: that the jobs' trainers ask for.

    Raises:
        ConfigError: there would be no workers.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"hydra.launcher.max_workers={workers}: must be a whole number of at least 1, or null")
    gpus = () if set(accelerators) <= {"cpu"} else visible_gpus()
    workers = workers or len(gpus) or available_cpus()
    return ResourceShare(workers, max(1, available_cpus() // workers), gpus)


def available_cpus() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """Numbers or names of the NVIDIA GPUs that this process may use."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name for name in named.split(",") if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    return tuple(re.findall(r"(?m)^GPU (\d+):", listed.stdout))
