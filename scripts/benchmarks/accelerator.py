"""Ten epochs of the MLP on a CUDA device, in each of the ways there are."""

import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from benchmarks.report import table
from dive.config.compose import compose_resolved
from dive.training import instantiate

HEAD = ["way", "overrides", "seconds"]
WAYS: dict[str, tuple[str, ...]] = {
    "float32": ("trainer.precision=32-true",),
    "TF32": ("trainer.matmul_precision=high",),
    "bfloat16": ("trainer.precision=bf16-mixed",),
    "compiled": ("trainer.compile=true",),
    "CUDA graphs": ("trainer.compile={mode:reduce-overhead}",),
    "CUDA graphs, TF32": ("trainer.compile={mode:reduce-overhead}", "trainer.matmul_precision=high"),
    "TF32, no pictures": ("trainer.matmul_precision=high", "callbacks=lean"),
}


def section(images: tuple[str, ...], fits: int = 5) -> str:
    """The table, in Markdown; its cells stay empty where there is no such device."""
    rows = []
    for way, overrides in WAYS.items():
        taken = fit_seconds((*overrides, *images), fits) if torch.cuda.is_available() else []
        rows.append([way, f"`{' '.join(overrides)}`", f"{statistics.median(taken):.3g} s" if taken else ""])
    told = "The ten epochs of `model=mlp trainer=gpu`, whole, everything on but for the last; the aim is 1 s."
    return f"## A GPU\n\n{told}\n\n{table(HEAD, rows)}"


def fit_seconds(overrides: tuple[str, ...], fits: int) -> list[float]:
    """Seconds of whole fits, everything on, after one to warm up."""
    config = compose_resolved("model=mlp", "trainer=gpu", "trainer.max_epochs=10", *overrides)
    data = instantiate.instantiate_datamodule(config)
    taken = []
    for _ in range(fits + 1):
        pl.seed_everything(config["seed"], verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            trainer, task = (
                instantiate.instantiate_trainer(config, Path(folder)),
                instantiate.instantiate_task(config, data),
            )
            start = time.perf_counter()
            trainer.fit(task, data)
            taken.append(time.perf_counter() - start)
    return taken[1:]
