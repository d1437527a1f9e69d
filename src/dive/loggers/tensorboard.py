"""Logging to TensorBoard."""

import os
import re
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pytorch_lightning import loggers
from pytorch_lightning.utilities import rank_zero_only

from dive.lazy.private_api import event_file_time

FLUSH_INTERVAL_S = 1  # maximum seconds until an event is written
MAX_SECOND = 9_999_999_999  # ten digits, as in all names of event files; a longer number would sort before them


class TensorBoardLogger(loggers.TensorBoardLogger):
    """Writes only event files, directly into the run directory.

    TensorBoard then lists the run under the directory's name.

    Raises:
        OSError: (from its methods) events cannot be written, now or since the last call; it names the folder.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__(save_dir=save_dir, name="", version="", flush_secs=FLUSH_INTERVAL_S)
        self._has_writer = False

    @property
    def experiment(self) -> Any:
        """The `SummaryWriter`: one event file per process, closed when this logger is deleted, or at exit."""
        if not self._has_writer and rank_zero_only.rank == 0:
            self._has_writer = True
            with event_file_time(later_second(Path(self.log_dir))):
                writer = super().experiment
            weakref.finalize(self, _close, writer)
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write scalars, without the epoch, whose curve says nothing."""
        with self.summary_writer():
            super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Make TensorBoard ignore what was logged after a checkpoint: a resumed run logs it again."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow to import, and seldom needed

        session_start = Event(session_log=SessionLog(status=SessionLog.START))
        self.experiment.file_writer.add_event(session_start, step)

    def save(self) -> None:
        """Flush; hyperparameters are in the run's config.yaml."""
        with self.summary_writer() as writer:
            writer.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Flush, without closing: testing, which follows the fit, writes to the same file."""
        if self._has_writer:
            self.save()

    @contextmanager
    def summary_writer(self) -> Iterator[Any]:
        """The `torch.utils.tensorboard.SummaryWriter`, with errors that name the folder."""
        try:
            yield self.experiment
        except OSError as error:  # from the writer thread, which does not say what it was writing
            raise OSError(error.errno, error.strerror, str(Path(self.log_dir))) from error


def _close(writer: Any) -> None:
    with suppress(OSError):  # reported already, when the events were flushed at the end of the fit or the test
        writer.close()


def later_second(folder: Path) -> float:
    """A time for the name of a new event file: now, or after the files in `folder` if their names are not earlier.

    TensorBoard reads files in the order of their names: second, host, then process and counter as strings, where
    "100" sorts before "99". It would read a new file before one of the same second, or one that a machine with a
    faster clock has written, and draw the curves of a resumed run backwards.
    """
    matches = (re.match(r"events\.out\.tfevents\.(\d{10})\.", path.name) for path in folder.glob("events.out.*"))
    newest = max((int(match[1]) for match in matches if match), default=0)
    return max(time.time(), newest + 1) if newest < MAX_SECOND else time.time()
