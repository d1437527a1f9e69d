"""Tests of faults say what was injected, how, and what came of it; together they write docs/faults.md."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

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
        _rows.update({report.nodeid: value for name, value in report.user_properties if name == "fault"})


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
