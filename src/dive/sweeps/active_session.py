"""The sweep session of the current command: opened by the launcher, reported and closed when the command ends."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dive.errors import RunError
from dive.sweeps.session import SweepSession

_session: SweepSession | None = None


def get_session(directory: Path, monitor: str, mode: str) -> SweepSession:
    """The session of this command, created by the first call: a search calls the launcher many times."""
    global _session
    if _session is None:
        _session = SweepSession(directory, monitor, mode)
    return _session


@contextmanager
def report_on_exit() -> Iterator[None]:
    """Close the session that was opened inside this context and report the sweep, also after an error.

    Raises:
        RunError: the command completed, but jobs failed or did not finish.
    """
    global _session
    completed = False
    try:
        yield
        completed = True
    finally:
        session, _session = _session, None
        if session is not None:
            from dive.sweeps import report  # slow to import and needed only here

            session.close()
            if session.started:
                table = report.write_report(session.sweep.directory)
                report.print_report(table, session.console)
                if not completed or table.unfinished:
                    session.console.print(f"to resume, rerun: {shlex.join(['python', *sys.argv])}")
    if session is not None and session.started and (failures := report.failure_summary(table, session.requested)):
        raise RunError(failures)
