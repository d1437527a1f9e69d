"""Shared fixtures: silenced Lightning, the real data set, a web server, short runs of any configuration.

Fixtures import torch and Lightning when used: the process that distributes the tests does not need them.
"""

from __future__ import annotations

import copy
import functools
import gc
import json
import logging
import os
import pickle
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import dive  # before Lightning, as in train.py: defers the import of what is rarely used
from dive.config.groups import CONFIG_DIR

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from tests.short_runs import Fitted

ROOT = Path(__file__).parents[1]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip the folders that need root, optional packages or a browser unless the command line names them."""
    folder = collection_path.name
    if collection_path.parent != ROOT / "tests" or folder not in ("browser", "extras", "faults", "slurm"):
        return None
    return None if any(folder in arg for arg in config.args) else True


@pytest.fixture(autouse=True)
def quiet_lightning() -> None:
    """Turn warnings into errors, except those that dive silences; pytest resets the filters before each test."""
    from dive.runs.logging import silence_lightning

    silence_lightning()


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line("markers", "curves: the test reads curves.png")
    config.addinivalue_line("markers", "slow: `make test-slow` runs the test, `make test` does not")


def pytest_collection_finish() -> None:
    """Exempt imported modules from garbage collection, which Lightning runs several times in each run."""
    gc.freeze()


def pytest_unconfigure() -> None:
    """Let objects be collected when Python exits: some C++ extensions report those that are not."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in folders named ``slow``."""
    for item in items:
        if "slow" in item.path.parts:
            item.add_marker("slow")


@pytest.fixture(autouse=True, scope="session")
def composed_once() -> Iterator[None]:
    """Compose each configuration once: Hydra takes longer to compose one than dive to train on a few examples."""
    from dive.config import compose

    uncached = compose.compose_config
    composed: dict[str, bytes] = {}

    def cached(overrides: Sequence[str], folder: Path = CONFIG_DIR, *args: Any, **kwargs: Any) -> DictConfig:
        if folder != CONFIG_DIR:
            return uncached(overrides, folder, *args, **kwargs)
        key = repr((overrides, args, kwargs))
        if key not in composed:
            composed[key] = pickle.dumps(uncached(overrides, folder, *args, **kwargs))
        config: DictConfig = pickle.loads(composed[key])
        return config

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(compose, "compose_config", cached)
        yield


@pytest.fixture(autouse=True, scope="session")
def entry_points_read_once() -> Iterator[None]:
    """Read the entry points of installed packages once: each Trainer looks for callbacks among them."""
    from pytorch_lightning.trainer.connectors import callback_connector

    with pytest.MonkeyPatch.context() as monkeypatch:
        name = "_load_external_callbacks"
        if load := getattr(callback_connector, name, None):
            monkeypatch.setattr(callback_connector, name, functools.cache(load))
        yield


@pytest.fixture(autouse=True)
def empty_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write an empty curves.png unless the test reads it: drawing takes longer than a short run."""
    if request.node.get_closest_marker("curves") is None:
        monkeypatch.setattr("dive.loggers.history.plot_curves", lambda _, path: path.touch())


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    """Remove the log handlers of runs after each test."""
    yield
    from dive.runs.logging import LOG_LEVELS

    for name in LOG_LEVELS:
        logger = logging.getLogger(name)
        logger.propagate = True
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The data folder with the real Fashion-MNIST; skips the test if there is none."""
    for root in (os.environ.get("DIVE_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz").is_file():
            return Path(root)
    pytest.skip("the real Fashion-MNIST is neither in $DIVE_DATA nor in data/ nor in ../shared/data")


Pause = Callable[[float], object]
Answer = Callable[[str, Pause], Iterable[bytes]]


class Server(ThreadingHTTPServer):
    """A local web server that sends given bytes.

    Args:
        answer: receives the last part of a URL and a sleep function, which returns at once when the test is over;
            yields the bytes of the response, including the header.

    Attributes:
        url: its address.
        requests: the number of requests of each file.
    """

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.requests: Counter[str] = Counter()
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                server.requests[name] += 1
                with suppress(ConnectionError):  # the client has disconnected
                    for chunk in answer(name, server.closing.wait):
                        self.wfile.write(chunk)

            def log_message(self, *args: Any) -> None:
                """Write nothing to stderr."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    """Start web servers that are stopped after the test."""
    running: list[tuple[Server, threading.Thread]] = []
    monkeypatch.setenv("no_proxy", "*")

    def start(answer: Answer) -> Server:
        server = Server(answer)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def lean(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Disable TensorBoard images unless callbacks are chosen: drawing takes longer than a short run."""
    chosen = any(override.startswith(("callbacks=", "resume=")) for override in overrides)
    return overrides if chosen else ("callbacks=lean", *overrides)


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Fitted]:
    """Compose, instantiate and fit as train.py does: ``fit("model=mlp", "data=garments")``."""
    from tests.short_runs import configure, fit_config

    return lambda *overrides: fit_config(configure(("trainer=cpu", *lean(overrides))), tmp_path)


class Finished(NamedTuple):
    """The directory and result of a run of train.py."""

    directory: Path
    result: dict[str, Any]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """Train with `dive.train`, by default in a new directory: ``train("model=mlp")``."""
    monkeypatch.chdir(tmp_path)

    def trained(*overrides: str, directory: Path | None = None) -> Finished:
        run = directory or tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        resumes = any(override.startswith("resume=") for override in overrides)
        run_dir = () if resumes else (f"hydra.run.dir={os.path.relpath(run)}",)  # the same for many tests
        dive.train([*lean(overrides), *run_dir])
        return Finished(run, json.loads((run / "result.json").read_text()))

    return trained


@pytest.fixture(scope="session")
def trained() -> dict[tuple[str, ...], Finished]:
    """The finished runs of `train_once`, by their overrides."""
    return {}


@pytest.fixture
def train_once(
    train: Callable[..., Finished],
    trained: dict[tuple[str, ...], Finished],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Finished]:
    """Train like `train`, but the same overrides only once: each call returns a copy, which a test may damage."""

    def copied(*overrides: str) -> Finished:
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


TIMINGS = ("seconds", "train_seconds", "samples_per_second", "peak_memory_mb")


@pytest.fixture
def differences() -> Callable[[Path, Path], list[str]]:
    """List the differences of two runs in checkpoints, metrics, events and result, except timings and paths."""

    def differ(one: Path, other: Path) -> list[str]:
        return list(different(load_outcome(one), load_outcome(other), ""))

    return differ


def load_outcome(directory: Path) -> dict[str, Any]:
    """The checkpoints, result, metrics and TensorBoard scalars of a run, without timings and paths."""
    import pandas as pd  # slow, and few tests compare runs
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from dive.runs import checkpoint_io

    result = json.loads((directory / "result.json").read_text())
    events = EventAccumulator(str(directory)).Reload()
    outcome = {
        "last": checkpoint_io.load_checkpoint(directory / "checkpoints" / "last.ckpt"),
        "best": checkpoint_io.load_checkpoint(directory / "checkpoints" / "best.ckpt"),
        "result": {name: value for name, value in result.items() if name not in TIMINGS},
        "metrics": pd.read_csv(directory / "metrics.csv", dtype=str).fillna("").to_dict(),
        "tensorboard": {
            tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        },
    }
    normalized: dict[str, Any] = normalize(outcome, str(directory))
    return normalized


def normalize(value: Any, directory: str) -> Any:
    """Remove timings and the path of the run directory."""
    if isinstance(value, dict):
        return {
            normalize(name, directory): normalize(item, directory)
            for name, item in value.items()
            if "seconds" not in str(name) and "per_second" not in str(name)
        }
    if isinstance(value, list | tuple):
        return [normalize(item, directory) for item in value]
    return value.replace(directory, "") if isinstance(value, str) else value


def different(one: Any, other: Any, key: str) -> Iterable[str]:
    """Yield the keys at which two nested values are not bit-identical."""
    import torch

    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from different(one[name], other[name], f"{key}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from different(first, second, f"{key}[{i}]")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not torch.equal(one, other):
            yield key
    elif one != other:
        yield f"{key}: {one} and {other}"
