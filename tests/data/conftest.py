"""Fixtures for the data tests."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.data.published import DIGESTS

from dive.data import archive_files, fashion_mnist_files


@pytest.fixture
def small_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use four tiny files in place of the published ones."""
    monkeypatch.setattr(archive_files, "SHA256", DIGESTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of the files; it does not exist yet."""
    return archive_files.raw_folder(tmp_path / "data")


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Logged warnings, even if an earlier test has disabled the root logger."""
    sources = (archive_files.log, fashion_mnist_files.log)
    for log in sources:
        log.addHandler(caplog.handler)
        log.setLevel(logging.WARNING)
    yield caplog
    for log in sources:
        log.removeHandler(caplog.handler)
        log.setLevel(logging.NOTSET)
