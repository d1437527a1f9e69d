"""Logging to Weights & Biases."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import loggers
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from dive.errors import RunError
from dive.loggers.base import load_hyperparameters, load_run_id, save_run_id, shortest_decimals

MODES = ("offline", "online", "disabled")

# Only metrics and configuration are recorded: no terminal output, code or machine data.
SETTINGS = {
    "console": "off",
    "disable_code": True,
    "disable_git": True,
    "host": "",
    "init_timeout": 30,  # seconds to wait for the server; wandb's default is 90, without a message
    "save_code": False,
    "silent": True,
    "symlink": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


class WandbLogger(loggers.WandbLogger):
    """Logs metrics and the configuration to a wandb run named like the run directory, in its folder ``wandb``.

    Nothing is sent unless the environment variable ``WANDB_MODE`` is ``online``; then wandb's other variables,
    never a configuration, set server and account. ``wandb sync`` uploads offline runs. A resumed run continues the
    same wandb run, by the ID in its ``wandb.id``; metrics logged after its checkpoint are logged twice: wandb
    cannot delete them.

    Args:
        save_dir: the run directory.
        project: name of the wandb project: letters, digits and ``. _ -``.

    Raises:
        RunError: (from its methods) Weights & Biases cannot be reached, or rejects the run.
        ValueError: ``WANDB_MODE`` is not one of `MODES`.
    """

    requires = "wandb"

    def __init__(self, save_dir: str | os.PathLike[str], project: str = "dive") -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        self.run_dir = Path(save_dir)
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode not in MODES:
            raise ValueError(f"WANDB_MODE={mode}: must be {', '.join(MODES)}")
        super().__init__(name=self.run_dir.name, save_dir=self.run_dir, project=project)
        self.mode: Any = mode
        self.run: Any = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, started on first use, finished by `close` or at exit."""
        if self.run is None:
            self.run = self._start_run()
        return self.run

    @property
    def version(self) -> str | None:
        """The ID of the wandb run."""
        return load_run_id(self.run_dir, "wandb")

    def _start_run(self) -> Any:
        import wandb

        run_id = self.version or secrets.token_hex(4)
        with friendly_errors():
            run = wandb.init(
                name=self.run_dir.name,
                project=self.name,
                dir=self.run_dir,
                id=run_id,
                config=load_hyperparameters(self.run_dir),
                mode=self.mode,
                reinit="create_new",  # one process may have several runs
                resume="allow",
                settings=SETTINGS,
            )
        run.define_metric("trainer/global_step")
        run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
        for link in (path for path in (self.run_dir / "wandb").rglob("*") if path.is_symlink()):
            link.unlink()  # points to wandb's log directory; a run directory with symlinks cannot be resumed
        save_run_id(self.run_dir, "wandb", run_id)
        return run

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log to wandb."""
        super().log_metrics(shortest_decimals(metrics), step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Mark a failed run as such; after a successful fit, testing follows."""
        if status == "failed":
            self.close(exit_code=1)

    def close(self, exit_code: int = 0) -> None:
        """Finish the wandb run."""
        if self.run is not None:
            self.run.finish(exit_code)


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Report wandb's errors in one line."""
    import wandb

    try:
        yield
    except wandb.Error as error:
        raise RunError(f"wandb: {' '.join(str(error).split())}") from error
