"""Monitor the jobs that another launcher runs, by polling their run directories."""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from dive.errors import UserError
from dive.runs.record import load_result
from dive.sweeps.session import UNFINISHED, SweepSession
from dive.sweeps.sweep import PlannedJob

POLL_INTERVAL_S = 0.5

Launch = Callable[[Sequence[int]], Mapping[int, str]]


def monitor(session: SweepSession, planned: Sequence[PlannedJob], launch: Launch) -> None:
    """Run jobs with another launcher, and update the session as their run directories change.

    A launcher may lose all its jobs when one is killed: jobs that have not begun are launched again.

    Args:
        session: notified of jobs that start and end.
        planned: jobs to run.
        launch: runs the jobs with the given indices and returns when none is running any more; returns the error
            messages of failed jobs by index, used for jobs that recorded no result themselves.

    Raises:
        UserError: the launcher cannot run any job.
    """
    directories = [plan.directory for plan in planned]
    results_before = [load_result(directory) for directory in directories]
    started_before = [_start_time(directory) for directory in directories]
    pending = set(range(len(planned)))

    def has_begun(i: int) -> bool:
        return _start_time(directories[i]) != started_before[i]

    def poll(unfinished: Collection[str]) -> None:
        for i in sorted(pending):
            result = load_result(directories[i])
            if result["status"] == "running" and has_begun(i):
                session.progress.mark_started(planned[i].name)
            elif result["status"] not in unfinished and result != results_before[i]:
                pending.discard(i)
                session.on_job_end(planned[i])

    while pending:
        launched, error = sorted(pending), "killed or lost by the launcher"
        messages: Mapping[int, str] = {}
        # Until the launcher returns, a cluster may restart an interrupted job.
        with _poll_loop(partial(poll, (*UNFINISHED, "interrupted"))):
            try:
                messages = launch(launched)
            except UserError:
                raise
            except Exception as failure:
                error = f"{error} ({type(failure).__name__}: {failure})"
        poll(UNFINISHED)
        ended = [i for i in sorted(pending) if i in messages or has_begun(i)]
        for i in ended or (sorted(pending) if pending == set(launched) else []):
            pending.discard(i)
            session.on_job_end(planned[i], messages.get(i, error))


def _start_time(directory: Path) -> int | None:
    path = directory / "config.yaml"  # written when a run begins
    return path.stat().st_mtime_ns if path.exists() else None


@contextmanager
def _poll_loop(poll: Callable[[], None]) -> Iterator[None]:
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(POLL_INTERVAL_S):
            poll()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
