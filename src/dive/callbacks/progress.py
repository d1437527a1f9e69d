"""A progress bar where somebody watches."""

import sys

from pytorch_lightning.callbacks import TQDMProgressBar


class Progress(TQDMProgressBar):
    """Lightning's bar on a terminal, gone when its epoch is; nothing in a file or a pipe.

    Args:
        refresh_rate: steps between two refreshes.
    """

    def __init__(self, refresh_rate: int) -> None:
        super().__init__(refresh_rate=refresh_rate if sys.stdout.isatty() else 0, leave=False)
