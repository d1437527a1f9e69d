"""Make a run that goes on equal to one that was never stopped, bit for bit on a processor."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dive.runs.record import Config, comparable_config, load_config
from dive.runs.rng_state import get_rng_state, set_rng_state

Loops = dict[str, Any]
LEVELS = ("ready", "started", "processed", "completed")


class ExactResume(pl.Callback):
    """Add to checkpoints what Lightning leaves out: configuration, random numbers, means of a broken-off epoch.

    And put in order what it gets wrong: it notes how far its loops have come by the hook that saved, and resumes
    differently after each; here a checkpoint says which epochs and batches are done, and nothing else. Loggers
    that have a `truncate_after` are told where the checkpoint stands, so that nothing is told twice.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}
        self._config: Config | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Read the configuration that the run has recorded, if this is one."""
        recorded = load_config(Path(trainer.default_root_dir))
        self._config = None if recorded is None else comparable_config(recorded)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Complete a checkpoint, when all that was logged before is in its files."""
        for logger in trainer.loggers:
            logger.save()
        loops = checkpoint["loops"]["fit_loop"]
        checkpoint["epoch"] = restore_loop_progress(loops, trainer.global_step, trainer.validating)
        checkpoint["config"] = self._config
        checkpoint["random"] = get_rng_state()
        checkpoint["means"] = pl_module.means["train"].state_dict()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep what is needed when training starts."""
        if trainer.state.fn != "fit":
            return
        self._state = {name: checkpoint[name] for name in ("random", "means") if name in checkpoint}
        for logger in trainer.loggers:
            if hasattr(logger, "truncate_after"):
                logger.truncate_after(checkpoint["global_step"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the random numbers, and with the means."""
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0:
            # An epoch begins, as any other: Lightning would take it for one that is through but for validation.
            for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop):
                loop._restarting = False
        if "random" in self._state:
            set_rng_state(self._state["random"])
        if "means" in self._state:
            pl_module.means["train"].load_state_dict(self._state["means"])
        self._state = {}


def restore_loop_progress(loops: Loops, steps: int, validating: bool) -> int:
    """Say which epochs and batches are done, and that another epoch is about to start, or to go on.

    Args:
        loops: state of Lightning's fit loop, changed in place.
        steps: that the optimizer has taken.
        validating: between two batches, or after the last one, the model is being validated.

    Returns:
        The epoch that training is in, or else the last one that is done.
    """
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    in_epoch = epochs["total"]["started"] > epochs["total"]["processed"]
    for scope in ("total", "current"):
        epochs_done, batches_done = epochs[scope]["processed"], batches[scope]["processed"]
        epochs[scope] = dict.fromkeys(LEVELS, epochs_done) | {"ready": epochs_done + 1}
        batches[scope] = dict.fromkeys(LEVELS, batches_done if in_epoch or scope == "total" else 0)
    batches["is_last_batch"] = validating and batches["is_last_batch"]
    loops["epoch_loop.val_loop.batch_progress"] = {
        # As if its first batch were to be repeated: Lightning then validates again, from the first on.
        scope: dict.fromkeys(LEVELS, 0) | (dict.fromkeys(LEVELS[:2], 1) if scope == "total" and validating else {})
        for scope in ("total", "current")
    } | {"is_last_batch": False}
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - validating
    for loader in loops["state_dict"].get("combined_loader", []):
        if not in_epoch and loader.keys() == {"epoch", "position"}:
            loader |= {"epoch": epochs["current"]["completed"], "position": 0}
    return int(epochs["current"]["completed"]) - (not in_epoch)
