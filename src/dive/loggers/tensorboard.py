"""Scalars for TensorBoard."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning import loggers
from pytorch_lightning.utilities import rank_zero_only

FLUSH_S = 1  # seconds that an event may wait for others, until it is written


class TensorBoard(loggers.TensorBoardLogger):
    """Event files in the run's ``tensorboard`` folder, with nothing of Lightning's beside them.

    Args:
        save_dir: the run's directory.

    Raises:
        OSError: (from its methods) events cannot be written, now or since the last call; it names the folder.
    """

    def __init__(self, save_dir: str | os.PathLike[str]) -> None:
        super().__init__(save_dir=save_dir, name="tensorboard", version="", flush_secs=FLUSH_S)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand over to the thread that writes."""
        with self._named_errors():
            super().log_metrics(metrics, step)

    @rank_zero_only
    def go_on_from(self, step: int) -> None:
        """Have TensorBoard leave out what was logged after a checkpoint: it is going to be logged again."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # slow, and seldom needed

        restarted = Event(session_log=SessionLog(status=SessionLog.START))
        self.experiment._get_file_writer().add_event(restarted, step)

    def save(self) -> None:
        """Flush; the run's own config.yaml is the record of hyperparameters."""
        with self._named_errors():
            self.experiment.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Flush and close."""
        with self._named_errors():
            super().finalize(status)

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # of the thread, which does not say what it was writing
            raise OSError(error.errno, error.strerror, str(Path(self.log_dir))) from error
