"""What all tests share: quiet Lightning, the real data set, a web server, short runs of any configuration."""

import json
import logging
import os
import runpy
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytorch_lightning as pl
import torch

from dive.config.compose import compose_resolved
from dive.runs import checkpoint_io
from dive.runs.logging import LOG_LEVELS, silence_lightning
from dive.runs.record import Config
from dive.tasks.task import Task
from dive.training import instantiate
from dive.training.trainer import Trainer

ROOT = Path(__file__).parents[1]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Some tests take minutes, or optional packages: `make test-sweeps` and others name their folders."""
    folder = collection_path.name
    if collection_path.parent != ROOT / "tests" or folder not in ("browser", "extras", "faults", "slow", "slurm"):
        return None
    return None if any(folder in arg for arg in config.args) else True


@pytest.fixture(autouse=True)
def quiet_lightning() -> None:
    """Warnings are errors, but for those that dive itself silences; pytest resets filters before each test."""
    silence_lightning()


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line("markers", "curves: the test looks at curves.png")


@pytest.fixture(autouse=True)
def curves_without_ink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave an empty curves.png, but where tests look at it: to draw it takes longer than a short run."""
    if request.node.get_closest_marker("curves") is None:
        monkeypatch.setattr("dive.loggers.history.plot_curves", lambda _, path: path.touch())


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    """A run sends its messages to its own files; afterwards nobody listens any more."""
    yield
    for name in LOG_LEVELS:
        logger = logging.getLogger(name)
        logger.propagate = True
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The data folder that holds the real Fashion-MNIST; skips where there is none."""
    for root in (os.environ.get("DIVE_DATA"), ROOT / "data", ROOT.parent / "shared" / "data"):
        if root and (Path(root) / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz").is_file():
            return Path(root)
    pytest.skip("the real Fashion-MNIST is neither in $DIVE_DATA nor in data/ nor in ../shared/data")


Pause = Callable[[float], object]
Answer = Callable[[str, Pause], Iterable[bytes]]


class Server(ThreadingHTTPServer):
    """A web server on this machine, which sends just the bytes that it is told to send.

    Args:
        answer: for the last part of an address, the pieces that go over the wire, head and all. To wait between
            them, it calls its second argument, which returns at once when the test is over.

    Attributes:
        url: its address.
        asked: how often each file was asked for.
    """

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.asked: Counter[str] = Counter()
        self.delegate = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                server.asked[name] += 1
                with suppress(ConnectionError):  # whoever asked has gone
                    for piece in answer(name, server.over.wait):
                        self.wfile.write(piece)

            def log_message(self, *args: Any) -> None:
                """Nothing on stderr."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], Server]]:
    """Start web servers, and stop them at the end."""
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
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def lean(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides without pictures for TensorBoard, unless they say so: drawing takes longer than a short run."""
    chosen = any(word.startswith(("callbacks=", "resume=")) for word in overrides)
    return overrides if chosen else ("callbacks=lean", *overrides)


class Fitted(NamedTuple):
    """What a run in this process leaves."""

    task: Task
    trainer: Trainer
    settings: Config


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., Fitted]:
    """Compose, build and fit, as train.py does: ``fit("model=mlp", "data=garments")``."""

    def fitted(*overrides: str) -> Fitted:
        config = compose_resolved("trainer=cpu", *lean(overrides))
        pl.seed_everything(config["seed"], verbose=False)
        data = instantiate.instantiate_datamodule(config)
        task = instantiate.instantiate_task(config, data)
        trainer = instantiate.instantiate_trainer(config, tmp_path)
        trainer.fit(task, data)
        return Fitted(task, trainer, config)

    return fitted


class Finished(NamedTuple):
    """A run of train.py: its directory and its result."""

    directory: Path
    result: dict[str, Any]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Finished]:
    """Run train.py in this process, in a new directory unless one is named: ``train("model=mlp")``."""

    def trained(*overrides: str, directory: Path | None = None) -> Finished:
        run = directory or tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        placed = () if any(word.startswith("resume=") for word in overrides) else (f"hydra.run.dir={run}",)
        monkeypatch.setattr(sys, "argv", ["train.py", *lean(overrides), *placed])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        return Finished(run, json.loads((run / "result.json").read_text()))

    return trained


CLOCK = ("seconds", "train_seconds", "samples_per_second", "peak_memory_mb")


@pytest.fixture
def differences() -> Callable[[Path, Path], list[str]]:
    """Where two runs differ, clocks and folders excepted: checkpoints, metrics, events of TensorBoard, results."""

    def differ(one: Path, other: Path) -> list[str]:
        return list(different(story(one), story(other), ""))

    return differ


def story(directory: Path) -> dict[str, Any]:
    """What a run has come to."""
    import pandas as pd  # slow, and few tests compare runs
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = json.loads((directory / "result.json").read_text())
    events = EventAccumulator(str(directory)).Reload()
    told = {
        "last": checkpoint_io.load_checkpoint(directory / "checkpoints" / "last.ckpt"),
        "best": checkpoint_io.load_checkpoint(directory / "checkpoints" / "best.ckpt"),
        "result": {name: value for name, value in result.items() if name not in CLOCK},
        "metrics": pd.read_csv(directory / "metrics.csv", dtype=str).fillna("").to_dict(),
        "tensorboard": {
            tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
        },
    }
    timeless: dict[str, Any] = without_clock(told, str(directory))
    return timeless


def without_clock(value: Any, directory: str) -> Any:
    """A story without its times and its place."""
    if isinstance(value, dict):
        return {
            without_clock(name, directory): without_clock(item, directory)
            for name, item in value.items()
            if "seconds" not in str(name) and "per_second" not in str(name)
        }
    if isinstance(value, list | tuple):
        return [without_clock(item, directory) for item in value]
    return value.replace(directory, "") if isinstance(value, str) else value


def different(one: Any, other: Any, key: str) -> Iterable[str]:
    """The keys at which two stories are not the same to the bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from different(one[name], other[name], f"{key}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for i, (mine, yours) in enumerate(zip(one, other, strict=True)):
            yield from different(mine, yours, f"{key}[{i}]")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not torch.equal(one, other):
            yield key
    elif one != other:
        yield f"{key}: {one} and {other}"
