"""Time our epoch against a hand-written loop, and a parallel sweep against a serial one: ``make bench``.

Epochs take turns, one by one, in one process; what counts is the ratio, since machines are noisy.
"""

import argparse
import logging
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from dive import build
from dive.compose import settings
from dive.data.module import DataModule, Splits
from dive.errors import DataError
from dive.log import quiet

README = Path(__file__).parents[1] / "README.md"
BOUNDS = {"mlp": 1.4, "softmax_regression": 2.5}
SWEEP_JOBS = 16


class HandWritten:
    """The loop that one would write by hand: train on shuffled batches, then validate. No Lightning, no logging.

    It starts from a copy of the task's initial weights.
    """

    def __init__(self, config: build.Config, data: DataModule) -> None:
        task = build.task(config, data)
        self.model, self.loss = task.model, task.loss
        self.optimizer = task.configure_optimizers()["optimizer"]
        self.splits: Splits = data.splits
        self.batch_size = data.batch_size

    def epoch(self) -> tuple[float, int]:
        """One epoch; the validation loss, and how many classes were right."""
        train, val = self.splits.train, self.splits.val
        for batch in torch.randperm(len(train)).split(self.batch_size):
            loss = self.loss(self.model(train.inputs[batch]), train.targets[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        with torch.no_grad():
            total, right = torch.tensor(0.0), torch.tensor(0)
            for x, y in zip(val.inputs.split(self.batch_size), val.targets.split(self.batch_size), strict=True):
                outputs: Tensor = self.model(x)
                total += self.loss(outputs, y) * len(y)
                right += (outputs.argmax(1) == y).sum() if y.ndim == 1 else 0
        return total.item() / len(val), int(right)


class TakeTurns(pl.Callback):
    """Before each of our epochs, run and time a hand-written one; then time ours."""

    def __init__(self, hand: HandWritten) -> None:
        self.hand = hand
        self.hand_seconds: list[float] = []
        self.our_seconds: list[float] = []
        self._start: float | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Our last epoch ends here, after its validation, checkpoint and logging."""
        self.stop()
        start = time.perf_counter()
        self.hand.epoch()
        self.hand_seconds.append(time.perf_counter() - start)
        self._start = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock of our epoch."""
        if self._start is not None:
            self.our_seconds.append(time.perf_counter() - self._start)


def image_data() -> tuple[str, ...]:
    """Fashion-MNIST where it is; else as many drawn garments."""
    try:
        build.data(settings("model=mlp", "data.download=false")).setup()
    except DataError:
        return "data=garments", "data.num_train=60000", "data.num_test=10000", "data.val_size=0"
    return ("data.val_size=0",)


def against_hand(model: str, overrides: tuple[str, ...], repeats: int) -> tuple[float, list[float]]:
    """Median seconds of our epoch and its ratio to the hand-written one, pair by pair, after one warm-up pair."""
    config = settings(f"model={model}", f"trainer.max_epochs={repeats + 1}", "trainer.accelerator=cpu", *overrides)
    with tempfile.TemporaryDirectory() as folder:
        pl.seed_everything(config["seed"], verbose=False)
        data = build.data(config)
        task = build.task(config, data)
        trainer = build.trainer(config, Path(folder))
        turns = TakeTurns(HandWritten(config, data))
        trainer.callbacks.insert(0, turns)
        trainer.fit(task, data)
        turns.stop()
    ratios = [ours / hand for ours, hand in zip(turns.our_seconds, turns.hand_seconds, strict=True)]
    return statistics.median(turns.our_seconds[1:]), ratios[1:]


def sweep_seconds(launcher: str, overrides: tuple[str, ...]) -> float:
    """Wall time of a sweep of `SWEEP_JOBS` one-epoch jobs, from the command to its report."""
    seeds = ",".join(str(seed) for seed in range(SWEEP_JOBS))
    command = ["-m", "model=mlp", "trainer=cpu", "trainer.max_epochs=1", f"seed={seeds}", f"launcher={launcher}"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "train.py", *command, *overrides, f"hydra.sweep.dir={folder}"],
            cwd=README.parent,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def main() -> None:
    """Print a line for each model, with its bound; with ``--readme`` put them into the README too."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="pairs of epochs after the warm-up (default: 20)")
    parser.add_argument("--readme", action="store_true", help="write the lines into README.md")
    arguments = parser.parse_args()
    quiet()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    images = image_data()
    lines = [f"our epoch against the hand-written one ({cpu()}, torch {torch.__version__}):"]
    for model, bound in BOUNDS.items():
        seconds, ratios = against_hand(model, images, arguments.repeats)
        median = statistics.median(ratios)
        lines.append(
            f"  {model:<20} {seconds:.2f} s, ratio {median:.2f} (from {min(ratios):.2f} to {max(ratios):.2f}), "
            f"bound {bound}: {'met' if median <= bound else 'NOT MET'}"
        )
    serial, parallel = (sweep_seconds(launcher, images) for launcher in ("serial", "parallel"))
    lines.append(f"{SWEEP_JOBS} jobs of one epoch, launcher=serial against launcher=parallel:")
    lines.append(f"  mlp                  {serial:.0f} s and {parallel:.0f} s, ratio {serial / parallel:.2f}")
    print("\n".join(lines))
    if arguments.readme:
        block = "\n".join(["```", *lines, "```"])
        text = README.read_text()
        README.write_text(re.sub(r"(?s)(<!-- bench -->\n).*?(<!-- /bench -->)", rf"\g<1>{block}\n\g<2>", text))


def cpu() -> str:
    """The processor and how many threads torch uses."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
