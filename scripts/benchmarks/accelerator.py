"""Ten epochs of the MLP on a CUDA device, in each of the ways there are."""

import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from dive import build
from dive.compose import settings

WAYS = {
    "float32": (),
    "TF32": ("trainer.matmul_precision=high",),
    "bfloat16": ("trainer.precision=bf16-mixed",),
    "compiled": ("trainer.compile=true",),
    "CUDA graphs": ("trainer.compile={mode:reduce-overhead}",),
    "CUDA graphs, TF32": ("trainer.compile={mode:reduce-overhead}", "trainer.matmul_precision=high"),
}


def fit_seconds(overrides: tuple[str, ...], repeats: int) -> list[float] | None:
    """Seconds of whole fits of ten epochs, everything on, after one to warm up; None where there is no such device."""
    if not torch.cuda.is_available():
        return None
    config = settings("model=mlp", "trainer=gpu", "trainer.max_epochs=10", *overrides)
    data = build.data(config)
    taken = []
    for _ in range(repeats + 1):
        pl.seed_everything(config["seed"], verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            trainer, task = build.trainer(config, Path(folder)), build.task(config, data)
            start = time.perf_counter()
            trainer.fit(task, data)
            taken.append(time.perf_counter() - start)
    return taken[1:]
