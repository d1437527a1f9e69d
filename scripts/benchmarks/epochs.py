"""Our epoch, everything on, against a peer's: one of each in turn, in one process."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl

from benchmarks.baselines import Peer
from benchmarks.paired_timing import PairedTimings
from dive.config.compose import compose_resolved
from dive.data.datamodule import InMemoryDataModule
from dive.training import instantiate


class TakeTurns(pl.Callback):
    """Before each of our epochs, have the peer run one; then time ours, to the start of the next."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.pairs = PairedTimings()
        self._start: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Our last epoch ends here, after its validation, checkpoints and logging."""
        self._stop()
        self.pairs.peers.append(self.peer.seconds())
        self._start = time.perf_counter()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The last one, too, has been saved and logged."""
        self._stop()

    def _stop(self) -> None:
        if self._start is not None:
            self.pairs.ours.append(time.perf_counter() - self._start)


def against(
    peer: type[Peer], overrides: Sequence[str], repeats: int, data: InMemoryDataModule | None = None
) -> PairedTimings:
    """Epochs of ours and of a peer's, after one of each to warm up.

    Args:
        peer: what to compare with.
        overrides: of the configuration, ``model=mlp``.
        repeats: pairs of epochs.
        data: in the place of the configured one.
    """
    config = compose_resolved(*overrides, f"trainer.max_epochs={repeats + 1}", "trainer.accelerator=cpu")
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        pl.seed_everything(config["seed"], verbose=False)
        data = data or instantiate.instantiate_datamodule(config)
        task = instantiate.instantiate_task(config, data)
        turns = TakeTurns(peer(config, data, Path(theirs)))
        trainer = instantiate.instantiate_trainer(config, Path(ours))
        trainer.callbacks.insert(0, turns)
        trainer.fit(task, data)
    return PairedTimings(turns.pairs.ours[1:], turns.pairs.peers[1:])
