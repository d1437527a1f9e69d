"""Find a learning rate: increase it from step to step and look for the lowest loss."""

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

EMA_BETA = 0.98  # decay of Lightning's moving average of the loss
SKIP_FIRST = 10  # points at the start of the curve, which average too few losses
MIN_POINTS = 10  # finite points required after the skipped ones


def find_lr(trainer: Trainer, task: Task, data: InMemoryDataModule, **arguments: Any) -> float:
    """Suggest a tenth of the learning rate at which the loss is lowest while the rate grows from step to step.

    Lightning's own suggestion is the rate at which the loss falls most steeply with respect to the rate itself.
    At the smallest rates, any noise is a steep slope: it suggests 1e-7 for a regression that needs 0.1.

    Other arguments are those of `pytorch_lightning.tuner.Tuner.lr_find`. The task keeps its weights. The curve is
    written to ``lr_find.csv`` and ``lr_find.png`` in the trainer's root directory.

    Raises:
        RunError: the curve has too few points or no minimum, see `suggest_lr`.
    """
    lr_finder.tqdm = partial(tqdm, disable=None, leave=False)  # otherwise the bar is also written to files
    found = Tuner(trainer).lr_find(task, datamodule=data, update_attr=False, **arguments)
    rates, losses = found.results["lr"], debias_ema(found.results["loss"])
    rates = rates[: len(losses)]
    folder = Path(trainer.default_root_dir)
    points = enumerate(zip(rates, losses, strict=True))
    rows = [{"step": step, "lr": lr, "loss": loss} for step, (lr, loss) in points]
    write_csv(folder / "lr_find.csv", ["step", "lr", "loss"], rows)
    suggested = suggest_lr(rates, losses)
    plot_lr_curve(rates, losses, suggested, folder / "lr_find.png")
    log.info(
        "the loss was lowest near lr=%.3g; suggested learning rate: one tenth of it, %g", 10 * suggested, suggested
    )
    log.info("curve: %s", folder / "lr_find.png")
    return suggested


def debias_ema(means: Sequence[float]) -> list[float]:
    """Correct Lightning's bias correction of the moving average, which halves its first value.

    A moving average that starts at 0 must be divided by ``1 - EMA_BETA**n`` after ``n`` values; Lightning uses
    ``n + 1``.

    >>> [round(mean, 12) for mean in debias_ema([0.02 / (1 - 0.98**2) * 3.0])]
    [3.0]
    """
    return [mean * (1 - EMA_BETA ** (n + 1)) / (1 - EMA_BETA**n) for n, mean in enumerate(means, start=1)]


def suggest_lr(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the learning rate with the lowest loss, rounded to three digits.

    Raises:
        RunError: there are too few points, or the lowest loss is at the first or the last of them.
    """
    finite = [(loss, i) for i, loss in enumerate(losses) if i >= SKIP_FIRST and math.isfinite(loss)]
    if len(finite) < MIN_POINTS:
        raise RunError(
            f"find_lr=true: {len(losses)} steps are too few; raise tune.find_lr.num_training "
            "or lower tune.find_lr.min_lr"
        )
    lowest = min(finite)[1]
    if lowest == SKIP_FIRST:
        raise RunError(
            f"find_lr=true: the loss does not decrease at any learning rate above {rates[lowest]:.3g}; "
            "lower tune.find_lr.min_lr"
        )
    if lowest == len(losses) - 1:
        raise RunError(f"find_lr=true: the loss still decreases at lr={rates[-1]:.3g}; raise tune.find_lr.max_lr")
    return float(f"{rates[lowest] / 10:.3g}")


def plot_lr_curve(rates: Sequence[float], losses: Sequence[float], suggested: float, path: Path) -> None:
    """Plot the loss against the learning rate and mark the suggestion."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(5.5, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    axes.axvline(suggested, color="#c0392b", linestyle="--", label=f"suggested: {suggested:g}")
    axes.set(xlabel="learning rate", ylabel="train/loss, moving average", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
