"""One line for a whole sweep: how far it is, what is best so far, how long it will take."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from dive.tasks.metric_mode import metric_mode


class SweepProgress:
    """Tells of jobs as they end: on a terminal in one line that changes, elsewhere in a line a job.

    Args:
        total: jobs of the sweep.
        monitor: the metric by which jobs are scored.
        mode: of that metric: ``"min"``, ``"max"`` or ``"auto"``.
        console: where to tell.
    """

    def __init__(self, total: int, monitor: str, mode: str, console: Console) -> None:
        self.total = total
        self.monitor = monitor
        self.better = min if metric_mode(monitor, mode) == "min" else max
        self.console = console
        self.running: set[str] = set()
        self.done = self.failed = self.trained = 0
        self.best: tuple[float, str] | None = None
        self._start: float | None = None
        self._status = Status("", console=console)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._status.stop()

    def mark_started(self, name: str) -> None:
        """A job has begun."""
        self._start = self._start or time.monotonic()
        self.running.add(name)
        self._status.update(Text(self.line()))

    def mark_skipped(self, name: str, result: Mapping[str, Any]) -> None:
        """A job was finished before."""
        self._count(name, result)

    def mark_finished(self, name: str, result: Mapping[str, Any]) -> None:
        """A job has ended, with this result."""
        self.running.discard(name)
        self.trained += 1
        self._count(name, result)
        if self.console.is_terminal:
            self._status.update(Text(self.line()))
        else:
            self.console.print(
                f"{name}: {summarize(result)}; {self.line()}", soft_wrap=True, highlight=False, markup=False
            )

    def _count(self, name: str, result: Mapping[str, Any]) -> None:
        if result["status"] != "finished":
            self.failed += 1
            return
        self.done += 1
        score = result.get("score")
        if score is not None and result.get("monitor", self.monitor) == self.monitor:
            self.best = self.better(self.best or (score, name), (score, name), key=lambda pair: pair[0])

    def line(self) -> str:
        """Where the sweep stands."""
        parts = [f"{self.done} of {self.total} done"]
        if self.running:
            parts.append(f"{len(self.running)} running")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.best:
            parts.append(f"best {self.monitor} {self.best[0]:.4g} ({self.best[1]})")
        left = self.total - self.done - self.failed
        if self.trained and left and self._start:
            parts.append(f"about {format_duration(left * (time.monotonic() - self._start) / self.trained)} left")
        return ", ".join(parts)


def summarize(result: Mapping[str, Any]) -> str:
    """What became of a job, in a few words."""
    if result["status"] == "finished":
        score = result.get("score")
        return "finished" if score is None else f"{result['monitor']} {score:.4g}"
    return f"{result['status']} ({' '.join(str(result.get('error') or 'no result').split())})"


def format_duration(seconds: float) -> str:
    """A length of time to the unit that matters.

    >>> format_duration(42.3), format_duration(170), format_duration(7500)
    ('42 s', '3 min', '2.1 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
