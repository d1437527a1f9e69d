"""Runs for Weights & Biases."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import loggers
from pytorch_lightning.utilities import rank_zero_only

from dive.errors import RunError
from dive.loggers.base import hyperparameters, load_run_id, save_run_id, shortest_decimals

MODES = ("offline", "online", "disabled")

# Metrics and configuration are all that is told: no terminal, no code, no machine.
SETTINGS = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "host": "",
    "init_timeout": 30,  # seconds that a server has to answer; by itself, wandb waits for 90, and says nothing
    "save_code": False,
    "silent": True,
    "symlink": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class WandbLogger(loggers.WandbLogger):
    """Metrics and the configuration, as a run named like the run's directory, in its folder ``wandb``.

    Nothing is sent unless the environment variable ``WANDB_MODE`` is ``online``; then wandb's other variables say
    where to and as whom, never a configuration. What was written offline, ``wandb sync`` sends later. A run that
    goes on is the same run there, by the id in its ``wandb.id``; what it had told after its checkpoint is told
    twice: wandb has no way to take that back.

    Args:
        save_dir: the run's directory.
        project: under which Weights & Biases shows the run; a name, of letters, digits and ``. _ -``.

    Raises:
        RunError: (from its methods) Weights & Biases cannot be reached, or does not take the run.
        ValueError: ``WANDB_MODE`` is none of `MODES`.
    """

    requires = "wandb"

    def __init__(self, save_dir: str | os.PathLike[str], project: str = "dive") -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.folder = Path(save_dir)
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode not in MODES:
            raise ValueError(f"WANDB_MODE={mode}: must be {', '.join(MODES)}")
        super().__init__(
            name=self.folder.name,
            save_dir=self.folder,
            project=project,
            mode=mode,
            reinit="create_new",  # runs of one process are several
            settings=SETTINGS,
        )
        del self._wandb_init["anonymous"]  # of which wandb does not want to hear any more

    @property
    def experiment(self) -> Any:
        """The run of wandb, begun when this is first asked for, ended by `close`, or at exit."""
        if self._experiment is None and rank_zero_only.rank == 0:
            self._id = load_run_id(self.folder, "wandb") or secrets.token_hex(4)
            self._wandb_init |= {"id": self._id, "config": hyperparameters(self.folder)}
            with friendly_errors():
                _ = super().experiment
            for link in (path for path in (self.folder / "wandb").rglob("*") if path.is_symlink()):
                link.unlink()  # to a log of its own elsewhere: a run with links in it is not gone on with
            save_run_id(self.folder, "wandb", self._id)
        return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand over to wandb."""
        super().log_metrics(shortest_decimals(metrics), step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End a run that failed as such; after a fit that went well, the test is to come."""
        if status == "failed":
            self.close(exit_code=1)

    def close(self, exit_code: int = 0) -> None:
        """End the run: nothing more is logged."""
        if self._experiment is not None:
            self._experiment.finish(exit_code)


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Tell what wandb has to complain about in one line."""
    import wandb

    try:
        yield
    except wandb.Error as error:
        raise RunError(f"wandb: {' '.join(str(error).split())}") from error
