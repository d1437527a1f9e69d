"""What tests of data share."""

from pathlib import Path

import pytest

from dive.data import archives


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files belong; it does not exist yet."""
    return archives.raw_folder(tmp_path / "data")
