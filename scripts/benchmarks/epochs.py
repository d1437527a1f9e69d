"""Time epochs of dive, with all callbacks, and of a baseline: alternately, in one process."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl

from benchmarks.baselines import Baseline
from benchmarks.paired_timing import PairedTimings
from dive.config.compose import compose_resolved
from dive.data.datamodule import InMemoryDataModule
from dive.training import instantiate


class AlternateEpochs(pl.Callback):
    """Run an epoch of the baseline before each epoch of dive, and time both.

    An epoch of dive lasts until the next one starts, so that it includes validation, checkpoints and logging.
    """

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self.pairs = PairedTimings()
        self._start: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the timer of the previous epoch, run the baseline, and start the timer."""
        self._stop()
        self.pairs.baseline.append(self.baseline.seconds())
        self._start = time.perf_counter()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the timer of the last epoch."""
        self._stop()

    def _stop(self) -> None:
        if self._start is not None:
            self.pairs.dive.append(time.perf_counter() - self._start)


def time_epochs(
    baseline: type[Baseline], overrides: Sequence[str], repeats: int, data: InMemoryDataModule | None = None
) -> PairedTimings:
    """Time pairs of epochs of dive and of a baseline, after one warm-up pair.

    Args:
        baseline: the class of the baseline.
        overrides: configuration overrides, such as ``model=mlp``.
        repeats: number of pairs.
        data: replaces the configured data module.
    """
    config = compose_resolved(*overrides, f"trainer.max_epochs={repeats + 1}", "trainer.accelerator=cpu")
    with tempfile.TemporaryDirectory() as run_dir, tempfile.TemporaryDirectory() as baseline_dir:
        pl.seed_everything(config["seed"], verbose=False)
        data = data or instantiate.instantiate_datamodule(config)
        task = instantiate.instantiate_task(config, data)
        callback = AlternateEpochs(baseline(config, data, Path(baseline_dir)))
        trainer = instantiate.instantiate_trainer(config, Path(run_dir))
        trainer.callbacks.insert(0, callback)
        trainer.fit(task, data)
    return PairedTimings(callback.pairs.dive[1:], callback.pairs.baseline[1:])
