"""Messages: short on the terminal, with time and origin in the run's log."""

import logging
import sys
import warnings
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

# Who is heard, from which level on in the log and on the terminal (at DEBUG Lightning logs each hook of a step).
SOURCES = {
    "dive": (logging.DEBUG, logging.INFO),
    "pytorch_lightning": (logging.INFO, logging.WARNING),
    "lightning_fabric": (logging.INFO, logging.WARNING),
    "py.warnings": (logging.WARNING, logging.WARNING),
}

# Lightning's advice that does not hold here, and why.
NOT_OURS = (
    r".*does not have many workers.*",  # sets in memory: a worker would only copy
    r".*is smaller than the logging interval.*",  # tasks log once an epoch, never by steps
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning 2.6 on newer torch
    r".*The `srun` command is available.*",  # a sweep's launcher talks to SLURM itself
    r".*Checkpoint directory .* exists and is not empty.*",  # a resumed run goes on in its own directory
)


def quiet() -> None:
    """Silence the warnings of `NOT_OURS` and Lightning's advert for its own service, and nothing else."""
    for message in NOT_OURS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_advert)


def say_little() -> None:
    """Where no run logs, have Lightning tell warnings alone: not which devices there are."""
    for name, (_, on_terminal) in SOURCES.items():
        logging.getLogger(name).setLevel(on_terminal)


def _no_advert(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def log_to(file: Path, terminal: bool = True) -> None:
    """Send the messages of `SOURCES` to a file, and to the terminal too.

    Processes of other ranks write neither: they would say everything again.

    Args:
        file: appended to; the files of earlier calls are closed.
        terminal: whether to the terminal too; of many runs at once, each has its file alone.
    """
    logging.captureWarnings(True)
    for name, (in_log, on_terminal) in SOURCES.items():
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
