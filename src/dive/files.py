"""Files that are put in place as a whole: nobody ever reads half of one."""

import os
from pathlib import Path


def put(path: Path, content: str | bytes) -> None:
    """Write a file beside its place, then move it there.

    Args:
        path: replaced where it exists; its folder must exist.
        content: text (as UTF-8) or bytes.

    Raises:
        OSError: the disk is full, say; what was at `path` is as it was, and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
