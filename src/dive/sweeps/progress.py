"""Progress of a sweep in one line: jobs done, the best score so far, the estimated time left."""

import time
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.status import Status
from rich.text import Text

from dive.errors import printable
from dive.tasks.metric_mode import metric_mode


class SweepProgress:
    """Displays progress: one status line that is updated on a terminal, otherwise one line per finished job.

    The metric `monitor` scores the jobs; its `mode` is ``"min"``, ``"max"`` or ``"auto"``.
    """

    def __init__(self, total: int, monitor: str, mode: str, console: Console) -> None:
        self.total = total
        self.monitor = monitor
        self.better = min if metric_mode(monitor, mode) == "min" else max
        self.console = console
        self.running: set[str] = set()
        self.done = self.failed = self.trained = 0
        self.best: tuple[float, str] | None = None
        self._start_time: float | None = None
        self._status = Status("", console=console)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def mark_started(self, name: str) -> None:
        """Count a job as running."""
        self._start_time = self._start_time or time.monotonic()
        self.running.add(name)
        self._status.update(Text(self.line()))

    def count(self, name: str, result: Mapping[str, Any]) -> None:
        """Count a job that has ended, maybe in an earlier command, without using it for the time estimate."""
        if result["status"] != "finished":
            self.failed += 1
            return
        self.done += 1
        score = result.get("score")
        if score is not None and result.get("monitor", self.monitor) == self.monitor:
            self.best = self.better(self.best or (score, name), (score, name), key=lambda pair: pair[0])

    def mark_finished(self, name: str, result: Mapping[str, Any]) -> None:
        """Count a job that has just ended, and print its result."""
        self.running.discard(name)
        self.trained += 1
        self.count(name, result)
        if self.console.is_terminal:
            self._status.update(Text(self.line()))
        else:
            self.console.print(f"{name}: {printable(summarize(result))}; {self.line()}")

    def line(self) -> str:
        """The progress line."""
        parts = [f"{self.done} of {self.total} done"]
        if self.running:
            parts.append(f"{len(self.running)} running")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.best:
            parts.append(f"best {self.monitor} {self.best[0]:.4g} ({self.best[1]})")
        left = self.total - self.done - self.failed
        if self.trained and left and self._start_time:
            seconds = left * (time.monotonic() - self._start_time) / self.trained
            parts.append(f"about {format_duration(seconds)} left")
        return ", ".join(parts)


def summarize(result: Mapping[str, Any]) -> str:
    """The outcome of a job in a few words: its score, or its status and error."""
    if result["status"] == "finished":
        score = result.get("score")
        return "finished" if score is None else f"{result.get('monitor', 'score')} {score:.4g}"
    return f"{result['status']} ({' '.join(str(result.get('error') or 'no result').split())})"


def format_duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours.

    >>> format_duration(42.3), format_duration(170), format_duration(7500)
    ('42 s', '3 min', '2.1 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"
