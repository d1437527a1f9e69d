"""Fault injection: runs in subprocesses, and a report of the outcomes in docs/fault_injection.md."""

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

# A new process cannot import this module by name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

ROOT = Path(__file__).parents[2]
FAULTS = range(1, 42)
HEADER = """# Fault injection

The faults that `make test-faults` injects, and their outcomes. The command writes this page; the tests of fault N
are those marked `fault(N, ...)` in `tests/faults`.

| | fault | how it is injected | outcome |
|-:|---|---|---|
"""

Row = tuple[int, str, str, str]
_rows: dict[str, Row] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "fault(number, what, how): the fault, and how it is injected")


@pytest.fixture
def outcome(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Callable[[str], None]:
    """Report the outcome of a fault, without numbers that vary between runs."""
    marker = request.node.get_closest_marker("fault")

    def report(text: str) -> None:
        number, what, how = marker.args
        record_property("fault", (number, what, how, " ".join(text.split())))

    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Collect the outcomes from all processes."""
    if report.when == "call" and report.passed:
        for i, (name, value) in enumerate(report.user_properties):
            if name == "fault":
                _rows[f"{report.nodeid} {i}"] = value


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the page if every fault was injected and every test passed."""
    in_worker = hasattr(session.config, "workerinput")
    if in_worker or session.testsfailed or {row[0] for row in _rows.values()} != set(FAULTS):
        return
    (ROOT / "docs" / "fault_injection.md").write_text(HEADER + "".join(lines(_rows.values())))


def lines(rows: Iterable[Row]) -> list[str]:
    """Format the table, one line per test, without duplicates."""
    escaped = ((number, *(text.replace("|", "\\|") for text in row)) for number, *row in sorted(rows))
    return list(dict.fromkeys(f"| {' | '.join(map(str, row))} |\n" for row in escaped))


# Runs.

# Ten steps per epoch, with every component that has a state.
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
    "callbacks.last.min_interval_s=0",  # save every epoch, though epochs take milliseconds
)


class Outcome(NamedTuple):
    """Directory, result, exit status or fatal signal, and output of a run."""

    directory: Path
    result: dict[str, Any]
    exit: str
    output: str


class Train(Protocol):
    """See `train_in_subprocess`."""

    def __call__(
        self, *overrides: str, directory: Path | None = None, do: Callable[[], None] | None = None
    ) -> Outcome:
        """Run ``train.py``."""


@pytest.fixture
def train_in_subprocess(tmp_path: Path) -> Train:
    """Run ``train.py`` in a subprocess after calling `do` there, with `SMALL` unless it resumes a run.

    TensorBoard's figures, which take half of the time of such a run, are drawn with ``callbacks=default`` only.
    """

    def trained(*overrides: str, directory: Path | None = None, do: Callable[[], None] | None = None) -> Outcome:
        directory = directory or tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        resumes = any(override.startswith("resume=") for override in overrides)
        if not any(override.startswith(("resume=", "callbacks=")) for override in overrides):
            overrides = ("callbacks=lean", *overrides)
        argv = [*overrides] if resumes else [*SMALL, *overrides, f"hydra.run.dir={directory}"]
        output = tmp_path / "output.txt"
        output.unlink(missing_ok=True)
        ((_, process),) = run_jobs([ProcessJob(partial(run_train, argv, do), output)], workers=1, threads=1)
        path = directory / "result.json"
        result = json.loads(path.read_text()) if path.exists() else {}
        return Outcome(directory, result, process.error or "exit status 0", output.read_text())

    return trained


def run_train(argv: list[str], do: Callable[[], None] | None) -> None:
    """Run ``python train.py ARGV`` in this process."""
    os.environ.pop("HYDRA_FULL_ERROR", None)  # set if another test started the fork server within train.py
    if do is not None:
        do()
    sys.argv = ["train.py", *argv]
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")


class SendSignal(NamedTuple):
    """Send a signal to this process in the n-th step of a stage: ``train``, ``val`` or ``test``."""

    number: signal.Signals
    stage: str
    step: int

    def __call__(self) -> None:
        """Patch the step of all tasks."""
        from dive.tasks.task import Task

        original, count = Task._step, 0

        def step(task: Task, batch: Any, stage: str) -> Any:
            nonlocal count
            loss = original(task, batch, stage)
            count += stage == self.stage
            if stage == self.stage and count == self.step:
                os.kill(os.getpid(), self.number)
            return loss

        Task._step = step  # type: ignore[method-assign]


@pytest.fixture
def send_signal() -> type[SendSignal]:
    """For `train_in_subprocess`: ``do=send_signal(signal.SIGTERM, "val", 2)``."""
    return SendSignal
