"""A progress bar where somebody watches."""

import sys

from pytorch_lightning.callbacks import TQDMProgressBar

from dive.training.fast.hook_pruning import EVAL_BATCH_HOOKS, TRAIN_BATCH_HOOKS


class ProgressBar(TQDMProgressBar):
    """Lightning's bar on a terminal, gone when its epoch is; nothing in a file or a pipe.

    Args:
        refresh_rate: steps between two refreshes.
    """

    def __init__(self, refresh_rate: int) -> None:
        watched = sys.stdout.isatty()
        super().__init__(refresh_rate=refresh_rate if watched else 0, leave=False)
        if not watched:
            self.__dict__ |= dict.fromkeys(TRAIN_BATCH_HOOKS + EVAL_BATCH_HOOKS)
