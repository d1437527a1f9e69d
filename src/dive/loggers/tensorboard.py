"""What TensorBoard shows of a run."""

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

FLUSH_INTERVAL_S = 1  # seconds that an event may wait for others, until it is written


class TensorBoardLogger(loggers.TensorBoardLogger):
    """Event files in the run's directory, so that the run has its name, with nothing of Lightning's beside them.

    Args:
        save_dir: the run's directory.

    Raises:
        OSError: (from its methods) events cannot be written, now or since the last call; it names the folder.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__(save_dir=save_dir, name="", version="", flush_secs=FLUSH_INTERVAL_S)

    @property
    def experiment(self) -> Any:
        """What writes: one file a process, closed when nobody has this logger any more, or at exit."""
        if self._experiment is None and rank_zero_only.rank == 0:
            unique_second(Path(self.log_dir))
            writer = super().experiment
            weakref.finalize(self, _close, writer)
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand over to the thread that writes. The epoch is no curve: it only grows with the step."""
        with self.writing():
            super().log_metrics({name: value for name, value in metrics.items() if name != "epoch"}, step)

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Have TensorBoard leave out what was logged after a checkpoint: it is going to be logged again."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow, and seldom needed

        restarted = Event(session_log=SessionLog(status=SessionLog.START))
        self.experiment._get_file_writer().add_event(restarted, step)

    def save(self) -> None:
        """Flush; the run's own config.yaml is the record of hyperparameters."""
        with self.writing() as writer:
            writer.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Flush; the test, which comes after the fit, goes into the same file."""
        if self._experiment is not None:
            self.save()

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """What writes, a `torch.utils.tensorboard.SummaryWriter`."""
        try:
            yield self.experiment
        except OSError as error:  # of the thread, which does not say what it was writing
            raise OSError(error.errno, error.strerror, str(Path(self.log_dir))) from error


def _close(writer: Any) -> None:
    with suppress(OSError):  # all was written when the fit or the test ended, or else was told then
        writer.close()


def unique_second(folder: Path) -> None:
    """Wait until event files are named by a later second than those in a folder.

    TensorBoard reads files in the order of their names: the second, the machine, and then process and counter as
    texts, of which 100 comes before 99. Of two files of one second it could take the later one for the earlier.

    Args:
        folder: of event files, or missing.
    """
    names = (
        re.match(r"events\.out\.tfevents\.(\d+)\.", path.name) for path in folder.glob("events.out.tfevents.*")
    )
    newest = max((int(name[1]) for name in names if name), default=0)
    if int(time.time()) == newest:
        time.sleep(newest + 1 - time.time())
