"""Jobs of a sweep that another launcher runs, watched by what they write into their directories."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from dive.errors import UserError
from dive.runs.record import load_result
from dive.sweeps.session import UNFINISHED, SweepSession
from dive.sweeps.sweep import PlannedJob

POLL_INTERVAL_S = 0.5  # between two looks

Launch = Callable[[Sequence[int]], Mapping[int, str]]


def monitor(session: SweepSession, steps: Sequence[PlannedJob], launch: Launch) -> None:
    """Let another launcher run jobs, and tell of them as their directories change.

    A launcher may lose all that it runs with one job that is killed: those not yet begun are launched again.

    Args:
        session: to be told.
        steps: the jobs to run.
        launch: runs those of these indices, and returns when none is running any more; it returns why some have
            failed, which counts where they recorded nothing themselves.

    Raises:
        UserError: the launcher cannot run any.
    """
    before = [(_result(step), _started(step)) for step in steps]
    left = set(range(len(steps)))

    def look(unended: Collection[str]) -> None:
        for i in sorted(left):
            result = _result(steps[i])
            if result["status"] == "running" and _started(steps[i]) != before[i][1]:
                session.progress.mark_started(steps[i].job.name)
            elif result["status"] not in unended and result != before[i][0]:
                left.discard(i)
                session.on_job_end(steps[i])

    while left:
        todo, error = sorted(left), "killed, or lost by its launcher"
        reasons: Mapping[int, str] = {}
        # A cluster may start an interrupted job again, until the launcher returns.
        with _again_and_again(partial(look, (*UNFINISHED, "interrupted"))):
            try:
                reasons = launch(todo)
            except UserError:
                raise
            except Exception as failure:
                error = f"{error} ({type(failure).__name__}: {failure})"
        look(UNFINISHED)
        ended = [i for i in sorted(left) if i in reasons or _started(steps[i]) != before[i][1]]
        for i in ended or (sorted(left) if left == set(todo) else []):
            left.discard(i)
            session.on_job_end(steps[i], reasons.get(i, error))


def _started(step: PlannedJob) -> int | None:
    # When its run began: its configuration is recorded then.
    path = step.job.directory / "config.yaml"
    return path.stat().st_mtime_ns if path.exists() else None


def _result(step: PlannedJob) -> dict[str, Any]:
    return load_result(step.job.directory)


@contextmanager
def _again_and_again(look: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(POLL_INTERVAL_S):
            look()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
