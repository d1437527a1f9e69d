"""Fixtures for the tests of optional packages: a run of train.py that must not open network connections."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
# With these variables set, the tools would detect a test and not send data on their own.
CI_VARIABLES = ("PYTEST_CURRENT_TEST", "CI", "GITHUB_ACTIONS", "GITLAB_CI")
LINEAR = ("model=linear_regression", "trainer=cpu", "data.num_train=100", "data.num_val=50")


class CommandLineRun(NamedTuple):
    """A run of train.py from the command line.

    Attributes:
        directory: the run directory.
        connections: number of attempted connections to other machines.
    """

    directory: Path
    connections: int


@pytest.fixture(scope="module")
def run_train(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., CommandLineRun]:
    """Run train.py in a subprocess and count its connections: its proxies are a local socket."""

    def run(*overrides: str) -> CommandLineRun:
        folder = tmp_path_factory.mktemp("run")
        environment = {k: v for k, v in os.environ.items() if k not in CI_VARIABLES and "proxy" not in k.lower()}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(0)
            proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
            proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy)
            command = [sys.executable, ROOT / "train.py", *LINEAR, *overrides, f"hydra.run.dir={folder / 'run'}"]
            subprocess.run(command, cwd=folder, env=environment | proxies, check=True, capture_output=True)
            connections = sum(1 for _ in accept_pending(listener))
        return CommandLineRun(folder / "run", connections)

    return run


def accept_pending(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield listener.accept()[0]
        except BlockingIOError:
            return


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, without environment variables of MLflow and wandb."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "WANDB_"))]:
        monkeypatch.delenv(name)
    return tmp_path
