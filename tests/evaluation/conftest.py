"""Runs that are trained once for all tests of this folder."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def trained() -> dict[tuple[str, ...], Any]:
    """The finished runs of `train_once`, by their overrides."""
    return {}


@pytest.fixture
def train_once(
    train: Callable[..., Any],
    trained: dict[tuple[str, ...], Any],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Any]:
    """Train like `train`, but the same overrides only once: each call returns a copy, which a test may damage."""

    def copied(*overrides: str) -> Any:
        if overrides not in trained:
            finished = train(*overrides)
            kept = tmp_path_factory.mktemp("trained") / "run"
            finished.directory.rename(kept)
            trained[overrides] = finished._replace(directory=kept)
        finished = trained[overrides]
        directory = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        shutil.copytree(finished.directory, directory)
        return finished._replace(directory=directory, result=copy.deepcopy(finished.result))

    return copied
