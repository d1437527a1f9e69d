"""The sweep that this command runs: opened by the launcher, reported and closed when the command ends."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dive.errors import RunError
from dive.sweeps.session import SweepSession

_session: SweepSession | None = None


def get_session(directory: Path, monitor: str, mode: str) -> SweepSession:
    """The session of this command's sweep, opened at the first call: a search launches many times."""
    global _session
    if _session is None:
        _session = SweepSession(directory, monitor, mode)
    return _session


@contextmanager
def report_on_exit() -> Iterator[None]:
    """Close whatever sweep is opened within, and report it, finished or not.

    Raises:
        RunError: the sweep is through, and jobs of it failed.
    """
    global _session
    opened, stopped = None, True
    try:
        yield
        stopped = False
    finally:
        opened, _session = _session, None
        if opened is not None:
            from dive.sweeps import report  # slow to import, and needed only at the end

            opened.close()
            if opened.started:
                table = report.write_report(opened.sweep.directory)
                report.print_report(table, opened.console)
                if stopped or table.unfinished:
                    opened.console.print(f"to go on, say it again: {shlex.join(['python', *sys.argv])}")
    if opened is not None and opened.started and (failures := report.failure_summary(table, opened.requested)):
        raise RunError(failures)
