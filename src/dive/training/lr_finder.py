"""Find a learning rate: train with one that grows from step to step, and see how the loss fares."""

import logging
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytorch_lightning.tuner import Tuner, lr_finder
from tqdm import tqdm

from dive.data.datamodule import InMemoryDataModule
from dive.errors import RunError
from dive.runs.csv_io import write_csv
from dive.tasks.task import Task
from dive.training.trainer import Trainer

log = logging.getLogger(__name__)

EMA_BETA = 0.98  # of Lightning's running mean of the loss
SKIP_FIRST = 10  # points at the beginning: means of a few losses are noise
MIN_POINTS = 10  # points after them that say something


def find_lr(trainer: Trainer, task: Task, data: InMemoryDataModule, **search: Any) -> float:
    """A tenth of the learning rate at which the loss was lowest, while the rate grew from step to step.

    Lightning's own suggestion is the rate at which the loss falls most steeply against the rate itself. Among the
    smallest rates any noise is a steep fall: it suggests 1e-7 for a regression that wants 0.1.

    Args:
        trainer: its directory gets ``lr_find.csv`` and ``lr_find.png``.
        task: what to train.
        data: what to train it on.
        **search: those of `pytorch_lightning.tuner.Tuner.lr_find`.

    Raises:
        RunError: as `suggest_lr` tells.
    """
    lr_finder.tqdm = partial(tqdm, disable=None, leave=False)  # else its bar goes into files, too
    seen = Tuner(trainer).lr_find(task, datamodule=data, update_attr=False, **search)
    rates, losses = seen.results["lr"], debias_ema(seen.results["loss"])
    rates = rates[: len(losses)]
    folder = Path(trainer.default_root_dir)
    rows = [
        {"step": step, "lr": lr, "loss": loss} for step, (lr, loss) in enumerate(zip(rates, losses, strict=True))
    ]
    write_csv(folder / "lr_find.csv", ["step", "lr", "loss"], rows)
    suggested = suggest_lr(rates, losses)
    plot_lr_curve(rates, losses, suggested, folder / "lr_find.png")
    log.info(
        "the loss was lowest at a learning rate of about %.3g; suggested: %g, a tenth", 10 * suggested, suggested
    )
    log.info("curve: %s", folder / "lr_find.png")
    return suggested


def debias_ema(means: Sequence[float]) -> list[float]:
    """Lightning's running means of the loss, which begin at half of what they should.

    Means that begin at 0 have to be divided by ``1 - MEMORY**n`` after ``n`` values; it takes ``n + 1``.

    >>> [round(mean, 12) for mean in debias_ema([0.02 / (1 - 0.98**2) * 3.0])]
    [3.0]
    """
    return [mean * (1 - EMA_BETA ** (n + 1)) / (1 - EMA_BETA**n) for n, mean in enumerate(means, start=1)]


def suggest_lr(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the rate at which the loss is lowest, to three digits.

    Raises:
        RunError: there are too few points, or the lowest is the first or the last of them.
    """
    finite = [(loss, i) for i, loss in enumerate(losses) if i >= SKIP_FIRST and math.isfinite(loss)]
    if len(finite) < MIN_POINTS:
        raise RunError(
            f"find_lr=true: {len(losses)} steps say too little; a larger tune.find_lr.num_training "
            "or a smaller tune.find_lr.min_lr may help"
        )
    lowest = min(finite)[1]
    if lowest == SKIP_FIRST:
        raise RunError(
            f"find_lr=true: the loss never falls from lr={rates[lowest]:.3g} on; lower tune.find_lr.min_lr"
        )
    if lowest == len(losses) - 1:
        raise RunError(f"find_lr=true: the loss still falls at lr={rates[-1]:.3g}; raise tune.find_lr.max_lr")
    return float(f"{rates[lowest] / 10:.3g}")


def plot_lr_curve(rates: Sequence[float], losses: Sequence[float], suggested: float, path: Path) -> None:
    """Draw the loss over the learning rate, with the suggestion."""
    from matplotlib.figure import Figure  # slow to import, and needed only here

    figure = Figure(figsize=(5.5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    axes.axvline(suggested, color="#c0392b", linestyle="--", label=f"suggested: {suggested:g}")
    axes.set(xlabel="learning rate", ylabel="train/loss, running mean", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
