"""Make a resumed run equal to an uninterrupted one, bit for bit: tested on CPU, and checked on an H200 GPU."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from dive.data.checksums import changed_names
from dive.errors import RunError
from dive.lazy import private_api
from dive.runs.checkpoint_schema import LEVELS
from dive.runs.record import Config, comparable_config, load_config
from dive.runs.rng_state import get_rng_state, set_rng_state
from dive.tasks.schedule import schedule_length

# Keys of a checkpoint.
RESTORED = ("random", "means", "optimizer_states", "lr_schedulers", "schedule_length")


class ExactResume(pl.Callback):
    """Add to checkpoints what Lightning omits: configuration, random states, the metric means of a partial epoch.

    Lightning's loop progress depends on which hook saved the checkpoint, so training would resume differently for
    each hook. Here it is reduced to completed epochs and batches. On resume,
    loggers that define `truncate_after` drop what was logged after the checkpoint: nothing is logged twice.
    """

    def __init__(self) -> None:
        self._state: dict[str, Any] = {}
        self._config: Config | None = None
        self._validated = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Load the configuration from the run directory, if there is one."""
        config = load_config(Path(trainer.default_root_dir))
        self._config = None if config is None else comparable_config(config)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that a checkpoint saved from now on has to repeat the validation."""
        self._validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that a validation within an epoch is complete, for checkpoint callbacks, which are called later."""
        self._validated = not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Complete the checkpoint, after all loggers have written their files."""
        for logger in trainer.loggers:
            logger.save()
        loops = checkpoint["loops"]["fit_loop"]
        checkpoint["epoch"] = normalize_loop_progress(
            loops, trainer.global_step, trainer.validating and not self._validated
        )
        checkpoint["config"] = self._config
        checkpoint["random"] = get_rng_state()
        checkpoint["data_crc32"] = getattr(trainer.datamodule, "checksums", {})
        checkpoint["schedule_length"] = schedule_length(trainer, pl_module)
        checkpoint["means"] = pl_module.means["train"].state_dict()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check the data, truncate the loggers, and store the state that `on_train_start` restores.

        Raises:
            RunError: the data differ from those that the run was trained on.
        """
        if trainer.state.fn != "fit":
            return
        current = getattr(trainer.datamodule, "checksums", {})
        if changed := changed_names(checkpoint.get("data_crc32") or {}, current):
            raise RunError(
                f"resume={trainer.default_root_dir}: the {' and '.join(changed)} data have changed since the run "
                "started; restore them to resume, or start a new run with the changed data"
            )
        self._state = {name: checkpoint[name] for name in RESTORED if name in checkpoint}
        self._restore(pl_module)  # reports a state that does not fit; what follows changes the random states
        for logger in trainer.loggers:
            if hasattr(logger, "truncate_after"):
                logger.truncate_after(checkpoint["global_step"])

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the data loaders get their state, which Lightning restores next."""
        if self._state:
            private_api.discard_train_dataloader(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the random states and the metric means."""
        if trainer.fit_loop.epoch_loop.batch_progress.current.ready == 0:
            # A new epoch starts; Lightning would treat it as one in which only validation is left.
            private_api.clear_restarting(trainer)
        for name, current in (
            ("optimizer_states", trainer.optimizers),
            ("lr_schedulers", trainer.lr_scheduler_configs),
        ):
            if len(saved := self._state.get(name, current)) != len(current):
                raise RunError(
                    f"resume={trainer.default_root_dir}: the checkpoint has {len(saved)} {name}, "
                    f"but the run has {len(current)}"
                )
        length = schedule_length(trainer, pl_module)
        if (saved := self._state.get("schedule_length", length)) != length:
            raise RunError(
                f"resume={trainer.default_root_dir}: the learning-rate schedule spans {saved} "
                f"{pl_module.make_scheduler.interval}s, but training now takes {length}; resume with the same "
                "trainer.max_epochs, or start a new run"
            )
        self._restore(pl_module)
        self._state = {}

    def _restore(self, pl_module: pl.LightningModule) -> None:
        if "random" in self._state:
            set_rng_state(self._state["random"])
        if "means" in self._state:
            pl_module.means["train"].load_state_dict(self._state["means"], pl_module.device)


def normalize_loop_progress(loops: dict[str, Any], steps: int, validating: bool) -> int:
    """Reduce loop progress to completed epochs and batches, with the next epoch ready to start or continue.

    Args:
        loops: state of Lightning's fit loop, modified in place.
        steps: number of optimizer steps taken.
        validating: whether validation is running, within an epoch or after its last batch.

    Returns:
        The current epoch, or between two epochs the last completed one.
    """
    epochs, batches = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
    in_epoch = epochs["total"]["started"] > epochs["total"]["processed"]
    for scope in ("total", "current"):
        epochs_done, batches_done = epochs[scope]["processed"], batches[scope]["processed"]
        epochs[scope] = dict.fromkeys(LEVELS, epochs_done) | {"ready": epochs_done + 1}
        batches[scope] = dict.fromkeys(LEVELS, batches_done if in_epoch or scope == "total" else 0)
    batches["is_last_batch"] = validating and batches["is_last_batch"]
    loops["epoch_loop.val_loop.batch_progress"] = {
        # As if its first batch had to be repeated: this makes Lightning rerun validation from the first batch.
        scope: dict.fromkeys(LEVELS, 0) | (dict.fromkeys(LEVELS[:2], 1) if scope == "total" and validating else {})
        for scope in ("total", "current")
    } | {"is_last_batch": False}
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = steps - validating
    for loader in loops["state_dict"].get("combined_loader", []):
        if not in_epoch and loader.keys() == {"epoch", "position"}:
            loader |= {"epoch": epochs["current"]["completed"], "position": 0}
    return int(epochs["current"]["completed"]) - (not in_epoch)
