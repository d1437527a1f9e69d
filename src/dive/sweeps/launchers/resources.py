"""How the CPU cores and GPUs of this machine are divided among jobs."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from dive.errors import ConfigError


@dataclass(frozen=True)
class ResourceShare:
    """The resources of jobs that run at the same time.

    Attributes:
        workers: number of jobs at a time.
        threads: torch threads per job.
        gpus: values of CUDA_VISIBLE_DEVICES, assigned round-robin; empty if no job uses a GPU.
    """

    workers: int
    threads: int
    gpus: tuple[str, ...] = ()

    def __str__(self) -> str:
        gpus = f", {len(self.gpus)} GPUs round-robin" if self.gpus else ""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.workers} at a time, {threads} each{gpus}"


def allocate(max_workers: int | None, accelerators: Sequence[str | None]) -> ResourceShare:
    """Divide this machine among jobs; no job gets more threads than OMP_NUM_THREADS, as in a single run.

    Args:
        max_workers: number of jobs at a time; None means one per GPU if jobs use GPUs, else one per core.
        accelerators: `accelerator` argument of each job's trainer.

    Raises:
        ConfigError: `max_workers` is less than 1.
    """
    if max_workers is not None and max_workers < 1:
        raise ConfigError(f"hydra.launcher.max_workers={max_workers}: must be an integer of at least 1, or null")
    gpus = () if set(accelerators) <= {"cpu"} else visible_gpus()
    workers = max_workers or len(gpus) or available_cpus()
    limit = os.environ.get("OMP_NUM_THREADS", "")
    threads = min(available_cpus() // workers, int(limit) if limit.isdecimal() else available_cpus())
    return ResourceShare(workers, max(1, threads), gpus)


def available_cpus() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """Indices or UUIDs of the NVIDIA GPUs that this process may use, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name for name in visible.split(",") if name.strip() not in ("", "-1"))
    if shutil.which("nvidia-smi") is None:
        return ()
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True).stdout
    return tuple(re.findall(r"(?m)^GPU (\d+):", listing))
