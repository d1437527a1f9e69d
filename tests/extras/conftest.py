"""What the tests of optional packages share: a run from the command line that nobody must be called by."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
# By which the tools would know that they are tested, and keep quiet of themselves.
TESTING = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI")
LINEAR = ("model=linear_regression", "trainer=cpu", "data.num_train=100", "data.num_val=50")


class Ran(NamedTuple):
    """A run from the command line.

    Attributes:
        directory: of the run.
        calls: connections that somebody has tried to make to other machines.
    """

    directory: Path
    calls: int


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Run train.py in a process of its own, and count whom it calls: every way out leads to a socket of ours."""

    def run(*overrides: str) -> Ran:
        folder = tmp_path_factory.mktemp("ran")
        environment = {k: v for k, v in os.environ.items() if k not in TESTING and "proxy" not in k.lower()}
        with socket.create_server(("127.0.0.1", 0)) as door:
            door.settimeout(0)
            way_out = f"http://127.0.0.1:{door.getsockname()[1]}"
            proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), way_out)
            command = [sys.executable, ROOT / "train.py", *LINEAR, *overrides, f"hydra.run.dir={folder / 'run'}"]
            subprocess.run(command, cwd=folder, env=environment | proxies, check=True, capture_output=True)
            calls = sum(1 for _ in knocks(door))
        return Ran(folder / "run", calls)

    return run


def knocks(door: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield door.accept()[0]
        except BlockingIOError:
            return


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of this test alone; the environment says nothing of the tools."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    return tmp_path
