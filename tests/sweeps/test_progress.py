"""The progress line of a sweep."""

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from dive.sweeps import progress as module
from dive.sweeps.progress import SweepProgress, format_duration, summarize


class Clock:
    """A clock that advances only when `now` is set."""

    def __init__(self) -> None:
        self.now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of the module."""
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.fixture
def output() -> io.StringIO:
    """The output of the console."""
    return io.StringIO()


def console(file: io.StringIO, terminal: bool) -> Console:
    """A console with the settings of a sweep session."""
    return Console(file=file, force_terminal=terminal, width=200, highlight=False, soft_wrap=True, markup=False)


@pytest.fixture
def progress(output: io.StringIO, clock: Clock) -> Callable[..., SweepProgress]:
    """Create the progress display of a sweep, with or without a terminal."""

    def create(total: int, monitor: str = "val/acc", terminal: bool = False) -> SweepProgress:
        return SweepProgress(total, monitor, "auto", console(output, terminal))

    return create


def finished(score: float | None, monitor: str = "val/acc") -> dict[str, Any]:
    return {"status": "finished", "score": score, "monitor": monitor}


FAILED = {"status": "failed", "error": "ValueError: no"}


def test_jobs_are_counted(progress: Callable[..., SweepProgress]) -> None:
    sweep_progress = progress(10)
    assert sweep_progress.line() == "0 of 10 done"
    sweep_progress.mark_started("a")
    sweep_progress.mark_started("b")
    assert sweep_progress.line() == "0 of 10 done, 2 running"
    sweep_progress.mark_started("b")
    assert sweep_progress.line() == "0 of 10 done, 2 running"
    sweep_progress.mark_finished("a", finished(0.5))
    assert sweep_progress.line().startswith("1 of 10 done, 1 running, best val/acc 0.5 (a)")
    sweep_progress.mark_finished("b", FAILED)
    assert sweep_progress.line().startswith("1 of 10 done, 1 failed, best val/acc 0.5 (a)")
    sweep_progress.count("c", finished(0.75))
    assert sweep_progress.line().startswith("2 of 10 done, 1 failed, best val/acc 0.75 (c)")


def test_killed_job_counts_as_failed(progress: Callable[..., SweepProgress]) -> None:
    sweep_progress = progress(2)
    sweep_progress.mark_finished("a", {"status": "killed", "error": "killed by SIGKILL"})
    assert sweep_progress.failed == 1
    assert sweep_progress.line().startswith("0 of 2 done, 1 failed")


@pytest.mark.parametrize(("monitor", "best"), [("val/acc", "0.9 (b)"), ("val/loss", "0.1 (c)")])
@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_best_is_the_highest_or_lowest_score(
    order: str, monitor: str, best: str, progress: Callable[..., SweepProgress]
) -> None:
    scores = {"a": 0.5, "b": 0.9, "c": 0.1}
    sweep_progress = progress(4, monitor)
    for name in order:
        sweep_progress.mark_finished(name, finished(scores[name], monitor))
    assert f"best {monitor} {best}" in sweep_progress.line()


def test_score_of_zero_can_be_best(progress: Callable[..., SweepProgress]) -> None:
    sweep_progress = progress(3, "val/loss")
    sweep_progress.mark_finished("a", finished(0.0, "val/loss"))
    sweep_progress.mark_finished("b", finished(0.5, "val/loss"))
    assert "best val/loss 0 (a)" in sweep_progress.line()


def test_job_without_a_score_is_done_but_not_best(progress: Callable[..., SweepProgress]) -> None:
    sweep_progress = progress(2)
    sweep_progress.mark_finished("a", finished(None))
    assert sweep_progress.done == 1
    assert "best" not in sweep_progress.line()


def test_time_left_is_estimated_from_jobs_of_this_command(
    progress: Callable[..., SweepProgress], clock: Clock
) -> None:
    sweep_progress = progress(10)
    sweep_progress.count("a", finished(0.5))  # not part of the time estimate
    clock.now += 1000  # nor is the time before the first job starts
    sweep_progress.mark_started("b")
    sweep_progress.mark_started("c")
    assert "left" not in sweep_progress.line()
    clock.now += 30
    sweep_progress.mark_finished("b", finished(0.5))
    sweep_progress.mark_finished("c", FAILED)
    # Two jobs in 30 s: the remaining seven take 105 s.
    assert sweep_progress.line().endswith(", about 2 min left")
    clock.now += 6
    sweep_progress.mark_finished("d", finished(0.5))
    # Three jobs in 36 s: the remaining six take 72 s.
    assert sweep_progress.line().endswith(", about 1 min left")


def test_no_time_left_at_the_end(progress: Callable[..., SweepProgress]) -> None:
    sweep_progress = progress(2)
    sweep_progress.mark_started("a")
    sweep_progress.mark_finished("a", finished(0.5))
    assert "left" in sweep_progress.line()
    sweep_progress.mark_finished("b", FAILED)
    assert sweep_progress.line() == "1 of 2 done, 1 failed, best val/acc 0.5 (a)"


def test_without_a_terminal_each_finished_job_prints_a_line(
    progress: Callable[..., SweepProgress], output: io.StringIO, clock: Clock
) -> None:
    with progress(3) as sweep_progress:
        sweep_progress.count("seed=0", finished(0.25))
        sweep_progress.mark_started("h=[red]")
        sweep_progress.mark_started("seed=2")
        clock.now += 60
        sweep_progress.mark_finished("h=[red]", finished(0.5))
        sweep_progress.mark_finished("seed=2", FAILED)
    assert output.getvalue().splitlines() == [
        "h=[red]: val/acc 0.5; 2 of 3 done, 1 running, best val/acc 0.5 (h=[red]), about 1 min left",
        "seed=2: failed (ValueError: no); 2 of 3 done, 1 failed, best val/acc 0.5 (h=[red])",
    ]


def test_long_line_is_not_wrapped(progress: Callable[..., SweepProgress], output: io.StringIO) -> None:
    with progress(1) as sweep_progress:
        sweep_progress.mark_finished("x" * 300, {"status": "failed", "error": "y" * 300})
    assert len(output.getvalue().splitlines()) == 1


def test_on_a_terminal_one_line_is_updated(progress: Callable[..., SweepProgress], output: io.StringIO) -> None:
    with progress(2, terminal=True) as sweep_progress:
        sweep_progress.mark_started("seed=0")
        sweep_progress.mark_finished("seed=0", finished(0.5))
        sweep_progress.mark_finished("seed=1", finished(0.75))
    text = output.getvalue()
    assert "2 of 2 done, best val/acc 0.75 (seed=1)" in text
    assert "seed=0: " not in text  # no line per job
    assert text.rstrip().endswith("\x1b[2K")  # the line is cleared at the end


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (finished(0.123456), "val/acc 0.1235"),
        (finished(None), "finished"),
        (FAILED, "failed (ValueError: no)"),
        ({"status": "interrupted"}, "interrupted (no result)"),
        ({"status": "failed", "error": "of\nmany\n  lines"}, "failed (of many lines)"),
        ({"status": "killed", "error": "killed by SIGKILL"}, "killed (killed by SIGKILL)"),
    ],
)
def test_summary_of_a_result(result: dict[str, Any], expected: str) -> None:
    assert summarize(result) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "60 min"), (3600, "1.0 h"), (9e4, "25.0 h")],
)
def test_duration_format(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_brackets_are_not_parsed_as_markup() -> None:
    file = io.StringIO()
    with SweepProgress(2, "val/acc", "auto", console(file, terminal=True)) as sweep_progress:
        sweep_progress.mark_finished("h=[red]", {"status": "finished", "score": 0.5})
    assert "h=[red]" in file.getvalue()
