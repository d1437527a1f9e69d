"""Whether a set can be held in memory, asked before: else the system would end the program without a word."""

import os
import re
from pathlib import Path

from dive.errors import DataError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # of a container, or a job of a cluster


def require_memory(num_bytes: int, name: str, sized_by: str) -> None:
    """Raise a DataError where a set is larger than the memory that is free.

    Args:
        num_bytes: that the set is going to take.
        name: of the set.
        sized_by: the keys that say how large it is.
    """
    free = free_memory()
    if free is not None and num_bytes > free:
        raise DataError(
            f"data={name}: {num_bytes / 1e9:.1f} GB as tensors, and {free / 1e9:.1f} GB of memory are free; "
            f"sets are held in memory: take less of {sized_by}"
        )


def free_memory() -> int | None:
    """Bytes that this process may take without swapping; None where the system does not tell."""
    told = [bound for bound in (_of_the_machine(), _of_the_group()) if bound is not None]
    return min(told, default=None)


def _of_the_machine() -> int | None:
    if MEMINFO.exists():
        available = re.search(r"(?m)^MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
        return int(available[1]) * 1024 if available else None
    if "SC_PHYS_PAGES" in os.sysconf_names:  # macOS: what there is at all
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_the_group() -> int | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        if (CGROUP / limit).exists():
            most = (CGROUP / limit).read_text().strip()
            return int(most) - int((CGROUP / used).read_text()) if most.isdigit() else None
    return None
