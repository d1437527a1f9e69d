"""The slow tests of the repository run with `make test-sweeps`, which names their folder."""

from pathlib import Path

import pytest

SLOW = Path(__file__).parent / "slow"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore the slow tests unless the command line names their folder."""
    return True if collection_path == SLOW and not any("slow" in arg for arg in config.args) else None
