"""A progress bar on terminals."""

import sys

from pytorch_lightning.callbacks import TQDMProgressBar

from dive.training.fast.hook_pruning import EVAL_BATCH_HOOKS, TRAIN_BATCH_HOOKS


class ProgressBar(TQDMProgressBar):
    """Lightning's progress bar on a terminal, cleared after each epoch; no output to files and pipes.

    Args:
        refresh_rate: number of steps between two refreshes.
    """

    def __init__(self, refresh_rate: int) -> None:
        is_terminal = sys.stdout.isatty()
        super().__init__(refresh_rate=refresh_rate if is_terminal else 0, leave=False)
        if not is_terminal:
            self.__dict__ |= dict.fromkeys(TRAIN_BATCH_HOOKS + EVAL_BATCH_HOOKS)
