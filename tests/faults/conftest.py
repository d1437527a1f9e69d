"""Runs to which something is done, in processes of their own; and what came of it, for docs/faults.md."""

import json
import os
import runpy
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cloudpickle
import pytest

from dive.sweeps.launchers.process_pool import ProcessJob, run_jobs

# A process that is started anew cannot import this module by its name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROOT = Path(__file__).parents[2]
FAULTS = range(1, 28)
HEADER = """# Faults

What was done to dive, and what came of it. Written by `make test-faults`, which does each of these things anew;
the test of fault N is the one marked `fault(N, ...)` in `tests/faults`.

| | fault | injected how | outcome |
|-:|---|---|---|
"""

Row = tuple[int, str, str, str]
_rows: dict[str, Row] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line("markers", "fault(number, what, how): what is injected, and how")


@pytest.fixture
def outcome(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[str], None]:
    """Say what came of the fault; without numbers that differ from run to run."""
    marker = request.node.get_closest_marker("fault")

    def say(text: str) -> None:
        number, what, how = marker.args
        record_property("fault", (number, what, how, " ".join(text.split())))

    return say


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather what tests have said, from all processes."""
    if report.when == "call" and report.passed:
        for i, (name, value) in enumerate(report.user_properties):
            if name == "fault":
                _rows[f"{report.nodeid} {i}"] = value


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page, where every fault was injected and every test passed."""
    in_worker = hasattr(session.config, "workerinput")
    if in_worker or session.testsfailed or {row[0] for row in _rows.values()} != set(FAULTS):
        return
    (ROOT / "docs" / "faults.md").write_text(HEADER + "".join(lines(_rows.values())))


def lines(rows: Iterable[Row]) -> list[str]:
    """Of the table, one a test, those that say the same once."""
    told = ((number, *(text.replace("|", "\\|") for text in row)) for number, *row in sorted(rows))
    return list(dict.fromkeys(f"| {' | '.join(map(str, row))} |\n" for row in told))


# Runs.

# Ten steps an epoch, with everything in it that has a state.
SMALL = (
    "model=mlp",
    "model.dropout=0.3",
    "model.num_hiddens=[16]",
    "data=garments",
    "data.num_train=416",
    "data.num_test=64",
    "data.val_size=96",
    "data.batch_size=32",
    "optimizer.momentum=0.9",
    "scheduler=step",
    "scheduler.step_size=1",
    "trainer=cpu",
    "trainer.max_epochs=4",
    "callbacks.last.min_interval_s=0",  # its epochs take milliseconds
)


class Left(NamedTuple):
    """What a run has left: directory, result, exit status or the signal that killed it, and what it said."""

    directory: Path
    result: dict[str, Any]
    ended: str
    said: str


class Train(Protocol):
    """See `train_apart`."""

    def __call__(
        self, *overrides: str, directory: Path | None = None, do: Callable[[], None] | None = None
    ) -> Left:
        """Run it."""


@pytest.fixture
def train_apart(tmp_path: Path) -> Train:
    """Run ``train.py`` in a process of its own, `SMALL` unless it goes on; first `do` something to it."""

    def trained(*overrides: str, directory: Path | None = None, do: Callable[[], None] | None = None) -> Left:
        directory = directory or tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        goes_on = any(word.startswith("resume=") for word in overrides)
        words = [*overrides] if goes_on else [*SMALL, *overrides, f"hydra.run.dir={directory}"]
        output = tmp_path / "said.txt"
        output.unlink(missing_ok=True)
        ((_, ended),) = run_jobs([ProcessJob(partial(typed, words, do), output)], workers=1, threads=1)
        path = directory / "result.json"
        result = json.loads(path.read_text()) if path.exists() else {}
        return Left(directory, result, ended.error or "exit status 0", output.read_text())

    return trained


def typed(words: list[str], do: Callable[[], None] | None) -> None:
    """``python train.py WORDS``, in this process."""
    if do is not None:
        do()
    sys.argv = ["train.py", *words]
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


class Do(NamedTuple):
    """Send this process a signal in the n-th step of a stage: ``train``, ``val`` or ``test``."""

    number: signal.Signals
    stage: str
    step: int

    def __call__(self) -> None:
        """Lie in wait."""
        from dive.tasks.task import Task as Measured

        take_step, counted, stage_wanted = Measured._step, 0, self.stage

        def step(task: Measured, batch: Any, stage: str) -> Any:
            nonlocal counted
            loss = take_step(task, batch, stage)
            counted += stage == stage_wanted
            if stage == stage_wanted and counted == self.step:
                os.kill(os.getpid(), self.number)
            return loss

        Measured._step = step  # type: ignore[method-assign]


@pytest.fixture
def signalled() -> type[Do]:
    """What `train_apart` can do: ``signalled(signal.SIGTERM, "val", 2)``."""
    return Do
