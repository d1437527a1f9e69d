"""Our epoch, everything on, against a peer's: one of each in turn, in one process."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl

from benchmarks.peers import Peer
from benchmarks.turns import Pairs
from dive import build
from dive.compose import settings
from dive.data.module import DataModule


class TakeTurns(pl.Callback):
    """Before each of our epochs, have the peer run one; then time ours, to the start of the next."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.pairs = Pairs()
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


def against(peer: type[Peer], overrides: Sequence[str], repeats: int, data: DataModule | None = None) -> Pairs:
    """Epochs of ours and of a peer's, after one of each to warm up.

    Args:
        peer: what to compare with.
        overrides: of the configuration, ``model=mlp``.
        repeats: pairs of epochs.
        data: in the place of the configured one.
    """
    config = settings(*overrides, f"trainer.max_epochs={repeats + 1}", "trainer.accelerator=cpu")
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        pl.seed_everything(config["seed"], verbose=False)
        data = data or build.data(config)
        task = build.task(config, data)
        turns = TakeTurns(peer(config, data, Path(theirs)))
        trainer = build.trainer(config, Path(ours))
        trainer.callbacks.insert(0, turns)
        trainer.fit(task, data)
    return Pairs(turns.pairs.ours[1:], turns.pairs.peers[1:])
