"""Logging: short messages on the terminal, with time and logger name in the run's ``train.log``."""

import logging
import sys
import warnings
from pathlib import Path

from pytorch_lightning.utilities import rank_zero_only

from dive.errors import printable

# Levels in the file and on the terminal. At DEBUG, Lightning logs every hook of every step.
LOG_LEVELS = {
    "dive": (logging.DEBUG, logging.INFO),
    "pytorch_lightning": (logging.INFO, logging.WARNING),
    "lightning_fabric": (logging.INFO, logging.WARNING),
    "py.warnings": (logging.WARNING, logging.WARNING),
}

# Lightning's warnings that do not apply to dive, and why.
IRRELEVANT_WARNINGS = (
    r".*(GPU|MPS) available but not used.*",  # trainer=cpu is a choice
    r".*does not have many workers.*",  # data is in memory: a worker would only copy it
    r".*is smaller than the logging interval.*",  # tasks log once per epoch, never per step
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning 2.6 with newer versions of torch
    r".*The `srun` command is available.*",  # the sweep launcher talks to SLURM itself
    r".*Checkpoint directory .* exists and is not empty.*",  # a resumed run continues in its own directory
)


class PrintableFormatter(logging.Formatter):
    """Escapes control characters: messages may quote files and checkpoints of other people."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return printable(super().format(record), keep="\n\t")


def silence_lightning() -> None:
    """Filter the `IRRELEVANT_WARNINGS` and Lightning's advertisement for its own service, and nothing else."""
    for message in IRRELEVANT_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_is_not_advertisement)


def _is_not_advertisement(record: logging.LogRecord) -> bool:
    return "litlogger" not in record.getMessage()


def reduce_verbosity() -> None:
    """Outside of runs, log Lightning's warnings but not its list of devices."""
    for name, (_, terminal_level) in LOG_LEVELS.items():
        logging.getLogger(name).setLevel(terminal_level)


def add_file_handler(file: Path, terminal: bool = True) -> None:
    """Send the messages of `LOG_LEVELS` to a file and to the terminal.

    Ranks other than 0 would repeat every message: they log errors only, to the terminal.

    Args:
        file: the log file, appended to; the files of earlier calls are closed.
        terminal: log to the terminal, too; off for the jobs of a parallel sweep.
    """
    logging.captureWarnings(True)
    for name, (file_level, terminal_level) in LOG_LEVELS.items():
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
            old.close()
        logger.propagate = False
        logger.setLevel(file_level if rank_zero_only.rank == 0 else logging.ERROR)
        if rank_zero_only.rank == 0:
            to_file = logging.FileHandler(file)
            to_file.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
            logger.addHandler(to_file)
        if terminal:
            to_terminal = logging.StreamHandler(sys.stdout)
            to_terminal.setLevel(terminal_level)
            to_terminal.setFormatter(PrintableFormatter())
            logger.addHandler(to_terminal)
