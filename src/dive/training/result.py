"""Collect the result of a run for ``result.json``, and print its metrics as a table."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.table import Table

from dive.loggers.base import shortest_decimals
from dive.loggers.history import MetricsHistoryLogger
from dive.runs.checkpoint_io import load_checkpoint
from dive.runs.csv_io import Row
from dive.runs.metrics_csv import best_step, final_metrics
from dive.tasks.metric_mode import metric_mode

log = logging.getLogger(__name__)

Result = dict[str, Any]


def best_checkpoint(trainer: pl.Trainer, metric: str) -> str | None:
    """The path of the checkpoint that is best by a metric, or None if there is none."""
    callback = _checkpoint_callback(trainer, metric)
    return None if callback is None else callback.best_model_path


def _checkpoint_callback(trainer: pl.Trainer, metric: str) -> ModelCheckpoint | None:
    callbacks: Any = (callback for callback in trainer.checkpoint_callbacks if callback.monitor == metric)
    return next((callback for callback in callbacks if callback.best_model_path), None)


@dataclass(frozen=True)
class BestValidation:
    """The validation that is best by the monitored metric.

    Attributes:
        step: number of optimizer steps before it.
        epoch: the epoch of it, counted from 1; None if it was not logged.
        metrics: what was logged at that step.
    """

    step: int
    epoch: int | None
    metrics: Row


def best_validation(trainer: pl.Trainer, metric: str, mode: str, rows: Mapping[int, Row]) -> BestValidation | None:
    """The validation whose weights the best checkpoint has; without one, the best in `rows`, by step."""
    if (callback := _checkpoint_callback(trainer, metric)) is None:
        step = best_step(rows, metric, mode)
        if step is None:
            return None
        epoch = rows[step].get("epoch", math.nan)
        return BestValidation(step + 1, int(epoch) + 1 if math.isfinite(epoch) else None, rows[step])
    saved = load_checkpoint(Path(callback.best_model_path))
    step = saved["global_step"]
    score = {} if callback.best_model_score is None else {metric: float(callback.best_model_score)}
    return BestValidation(step, saved["epoch"] + 1, rows.get(step - 1, {}) | shortest_decimals(score))


def collect_result(trainer: pl.Trainer, config: dict[str, Any]) -> Result:
    """Collect names, metrics and cost of a finished run, in JSON types.

    ``metrics.best`` is from the validation that is best by `config["monitor"]`, and ``score`` is the value of
    `monitor` in it; ``metrics.final`` is the last value of each metric. Test metrics are listed with those whose
    weights were tested: the best ones, or the last if no best checkpoint is saved.
    """
    history = next((logger for logger in trainer.loggers if isinstance(logger, MetricsHistoryLogger)), None)
    throughput: Any = next((c for c in trainer.callbacks if hasattr(c, "train_samples")), None)
    rows = history.rows if history else {}
    best = best_validation(trainer, config["monitor"], config["mode"], rows)
    final = final_metrics(rows)
    metrics = {
        which: {name: value for name, value in row.items() if name != "epoch" and not name.startswith("test/")}
        for which, row in (("best", best.metrics if best else {}), ("final", final))
    }
    tested = "best" if best_checkpoint(trainer, config["monitor"]) else "final"
    metrics[tested] |= {name: value for name, value in final.items() if name.startswith("test/")}
    seconds = throughput.train_seconds if throughput else None
    return {
        "model": type(trainer.lightning_module.model).__name__,
        "data": trainer.datamodule.name,
        "data_crc32": trainer.datamodule.checksums,
        "seed": config["seed"],
        "monitor": config["monitor"],
        "mode": metric_mode(config["monitor"], config["mode"]),
        "score": best.metrics.get(config["monitor"]) if best else None,
        "best_epoch": best.epoch if best else None,
        "best_step": best.step if best else None,
        "metrics": metrics,
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "train_seconds": seconds,
        "samples_per_second": throughput.train_samples / seconds if throughput and seconds else None,
    }


@rank_zero_only
def print_result(result: Result, directory: Path) -> None:
    """Log the metrics of the best and the last epoch as a table, and the run directory."""
    best, final = result["metrics"]["best"], result["metrics"]["final"]
    if best or final:
        table = Table("metric")
        table.add_column(f"best {result['monitor']}", justify="right")
        table.add_column("final", justify="right")
        for name in sorted(best | final):
            table.add_row(name, *(f"{row[name]:.4g}" if name in row else "" for row in (best, final)))
        console = Console(force_terminal=False)  # without styles, which the log would escape
        with console.capture() as output:
            console.print(table)
        log.info("{model} on {data}: best epoch {best_epoch} of {epochs}".format_map(result))
        log.info("%s", output.get().rstrip())
    log.info("run: %s", directory)
