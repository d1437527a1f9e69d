"""How far a sweep is, in a line."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from dive.sweeps import progress as module
from dive.sweeps.progress import SweepProgress, format_duration, summarize


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """That of the module."""
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def written() -> io.StringIO:
    """What the console has shown."""
    return io.StringIO()


@pytest.fixture
def progress(written: io.StringIO, clock: Clock) -> Callable[..., SweepProgress]:
    """Of a sweep, told to a file, or to a terminal."""

    def made(total: int, monitor: str = "val/acc", terminal: bool = False) -> SweepProgress:
        return SweepProgress(total, monitor, Console(file=written, force_terminal=terminal, width=200))

    return made


def finished(score: float | None, monitor: str = "val/acc") -> dict[str, Any]:
    return {"status": "finished", "score": score, "monitor": monitor}


FAILED = {"status": "failed", "error": "ValueError: no"}


def test_jobs_are_counted(progress: Callable[..., SweepProgress]) -> None:
    shown = progress(10)
    assert shown.line() == "0 of 10 done"
    shown.started("a")
    shown.started("b")
    assert shown.line() == "0 of 10 done, 2 running"
    shown.started("b")
    assert shown.line() == "0 of 10 done, 2 running"
    shown.ended("a", finished(0.5))
    assert shown.line().startswith("1 of 10 done, 1 running, best val/acc 0.5 (a)")
    shown.ended("b", FAILED)
    assert shown.line().startswith("1 of 10 done, 1 failed, best val/acc 0.5 (a)")
    shown.kept("c", finished(0.75))
    assert shown.line().startswith("2 of 10 done, 1 failed, best val/acc 0.75 (c)")


def test_a_job_that_was_killed_counts_as_failed(progress: Callable[..., SweepProgress]) -> None:
    shown = progress(2)
    shown.ended("a", {"status": "killed", "error": "killed by SIGKILL"})
    assert shown.failed == 1
    assert shown.line().startswith("0 of 2 done, 1 failed")


@pytest.mark.parametrize(("monitor", "best"), [("val/acc", "0.9 (b)"), ("val/loss", "0.1 (c)")])
@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_the_best_is_the_highest_or_the_lowest(
    order: str, monitor: str, best: str, progress: Callable[..., SweepProgress]
) -> None:
    scores = {"a": 0.5, "b": 0.9, "c": 0.1}
    shown = progress(4, monitor)
    for name in order:
        shown.ended(name, finished(scores[name], monitor))
    assert f"best {monitor} {best}" in shown.line()


def test_a_score_of_nothing_is_a_score(progress: Callable[..., SweepProgress]) -> None:
    shown = progress(3, "val/loss")
    shown.ended("a", finished(0.0, "val/loss"))
    shown.ended("b", finished(0.5, "val/loss"))
    assert "best val/loss 0 (a)" in shown.line()


def test_a_job_without_a_score_is_done_and_not_the_best(progress: Callable[..., SweepProgress]) -> None:
    shown = progress(2)
    shown.ended("a", finished(None))
    assert shown.done == 1
    assert "best" not in shown.line()


def test_the_time_left_is_that_of_the_jobs_left_at_the_pace_so_far(
    progress: Callable[..., SweepProgress], clock: Clock
) -> None:
    shown = progress(10)
    shown.kept("a", finished(0.5))  # it took no time now, and tells nothing about the pace
    clock.now += 1000  # nor does the time before the first
    shown.started("b")
    shown.started("c")
    assert "left" not in shown.line()
    clock.now += 30
    shown.ended("b", finished(0.5))
    shown.ended("c", FAILED)
    # Two in 30 s: the seven that are left take 105 s.
    assert shown.line().endswith(", about 2 min left")
    clock.now += 6
    shown.ended("d", finished(0.5))
    # Three in 36 s: six more.
    assert shown.line().endswith(", about 1 min left")


def test_at_the_end_no_time_is_left(progress: Callable[..., SweepProgress]) -> None:
    shown = progress(2)
    shown.started("a")
    shown.ended("a", finished(0.5))
    assert "left" in shown.line()
    shown.ended("b", FAILED)
    assert shown.line() == "1 of 2 done, 1 failed, best val/acc 0.5 (a)"


def test_elsewhere_than_on_a_terminal_each_job_that_ends_is_a_line(
    progress: Callable[..., SweepProgress], written: io.StringIO, clock: Clock
) -> None:
    with progress(3) as shown:
        shown.kept("seed=0", finished(0.25))
        shown.started("h=[red]")
        shown.started("seed=2")
        clock.now += 60
        shown.ended("h=[red]", finished(0.5))
        shown.ended("seed=2", FAILED)
    assert written.getvalue().splitlines() == [
        "h=[red]: val/acc 0.5; 2 of 3 done, 1 running, best val/acc 0.5 (h=[red]), about 1 min left",
        "seed=2: failed (ValueError: no); 2 of 3 done, 1 failed, best val/acc 0.5 (h=[red])",
    ]


def test_a_long_line_is_not_broken(progress: Callable[..., SweepProgress], written: io.StringIO) -> None:
    with progress(1) as shown:
        shown.ended("x" * 300, {"status": "failed", "error": "y" * 300})
    assert len(written.getvalue().splitlines()) == 1


def test_on_a_terminal_one_line_changes(progress: Callable[..., SweepProgress], written: io.StringIO) -> None:
    with progress(2, terminal=True) as shown:
        shown.started("seed=0")
        shown.ended("seed=0", finished(0.5))
        shown.ended("seed=1", finished(0.75))
    text = written.getvalue()
    assert "2 of 2 done, best val/acc 0.75 (seed=1)" in text
    assert "seed=0: " not in text  # no line of its own for each
    assert text.rstrip().endswith("\x1b[2K")  # the line is wiped off at the end


@pytest.mark.parametrize(
    ("result", "overrides"),
    [
        (finished(0.123456), "val/acc 0.1235"),
        (finished(None), "finished"),
        (FAILED, "failed (ValueError: no)"),
        ({"status": "interrupted"}, "interrupted (no result)"),
        ({"status": "failed", "error": "of\nmany\n  lines"}, "failed (of many lines)"),
        ({"status": "killed", "error": "killed by SIGKILL"}, "killed (killed by SIGKILL)"),
    ],
)
def test_what_became_of_a_job_is_told_in_words(result: dict[str, Any], words: str) -> None:
    assert summarize(result) == words


@pytest.mark.parametrize(
    ("seconds", "overrides"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "60 min"), (3600, "1.0 h"), (9e4, "25.0 h")],
)
def test_a_length_of_time_is_told_to_the_unit_that_matters(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_brackets_are_shown_on_a_terminal() -> None:
    file = io.StringIO()
    with SweepProgress(2, "val/acc", Console(file=file, force_terminal=True, markup=False, width=200)) as shown:
        shown.ended("h=[red]", {"status": "finished", "score": 0.5})
    assert "h=[red]" in file.getvalue()
