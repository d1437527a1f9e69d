"""Check that a data set fits in memory before it is loaded: otherwise the system kills the process silently."""

from pathlib import Path

import psutil

from dive.errors import DataError

CGROUP = Path("/sys/fs/cgroup")  # limits of a container or a cluster job, which psutil does not read


def require_memory(num_bytes: int, name: str, size_keys: str) -> None:
    """Raise a DataError if a data set, whose size is set by `size_keys`, is larger than the available memory."""
    available = available_memory()
    if num_bytes > available:
        raise DataError(
            f"data={name}: needs {num_bytes / 1e9:.1f} GB of memory, but only {available / 1e9:.1f} GB are "
            f"available; data sets are held in memory: reduce {size_keys}"
        )


def available_memory() -> int:
    """Bytes that this process can use without swapping, within the limit of its container."""
    available: int = psutil.virtual_memory().available
    for limit, used in (
        ("memory.max", "memory.current"),  # cgroup v2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),  # cgroup v1
    ):
        if (CGROUP / limit).exists() and (max_bytes := (CGROUP / limit).read_text().strip()).isdigit():  # or "max"
            available = min(available, int(max_bytes) - int((CGROUP / used).read_text()))
    return available
