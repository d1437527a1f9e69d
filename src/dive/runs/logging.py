"""Messages: short on the terminal, with time and origin in the run's log."""

import logging
import sys
import warnings
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

# Who is heard, from which level on in the log and on the terminal (at DEBUG Lightning logs each hook of a step).
LOG_LEVELS = {
    "dive": (logging.DEBUG, logging.INFO),
    "pytorch_lightning": (logging.INFO, logging.WARNING),
    "lightning_fabric": (logging.INFO, logging.WARNING),
    "py.warnings": (logging.WARNING, logging.WARNING),
}

# Lightning's advice that does not hold here, and why.
IRRELEVANT_WARNINGS = (
    r".*does not have many workers.*",  # sets in memory: a worker would only copy
    r".*is smaller than the logging interval.*",  # tasks log once an epoch, never by steps
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning 2.6 on newer torch
    r".*The `srun` command is available.*",  # a sweep's launcher talks to SLURM itself
    r".*Checkpoint directory .* exists and is not empty.*",  # a resumed run goes on in its own directory
)


def silence_lightning() -> None:
    """Silence the warnings of `IRRELEVANT_WARNINGS` and Lightning's advert for its own service, and nothing else."""
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_advert)


def reduce_verbosity() -> None:
    """Where no run logs, have Lightning tell warnings alone: not which devices there are."""
    for name, (_, on_terminal) in LOG_LEVELS.items():
        logging.getLogger(name).setLevel(on_terminal)


def _no_advert(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def add_file_handler(file: Path, terminal: bool = True) -> None:
    """Send the messages of `LOG_LEVELS` to a file, and to the terminal too.

    Processes of other ranks write neither: they would say everything again.

    Args:
        file: appended to; the files of earlier calls are closed.
        terminal: whether to the terminal too; of many runs at once, each has its file alone.
    """
    logging.captureWarnings(True)
    for name, (in_log, on_terminal) in LOG_LEVELS.items():
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
            old.close()
        logger.propagate = False
        logger.setLevel(in_log if rank_zero_only.rank == 0 else logging.ERROR)
        if rank_zero_only.rank == 0:
            logger.addHandler(
                _handler(logging.FileHandler(file), "%(asctime)s %(levelname)s %(name)s: %(message)s")
            )
        if terminal:
            shown = _handler(logging.StreamHandler(sys.stdout), "%(message)s")
            shown.setLevel(on_terminal)
            logger.addHandler(shown)


def _handler(handler: logging.Handler, pattern: str) -> logging.Handler:
    handler.setFormatter(logging.Formatter(pattern))
    return handler
