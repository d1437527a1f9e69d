"""Ten epochs of the MLP on a CUDA device, by precision and compilation."""

import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from benchmarks import report
from dive.config.compose import compose_resolved
from dive.training import instantiate

VARIANTS: dict[str, tuple[str, ...]] = {
    "float32": ("trainer.precision=32-true",),
    "TF32": ("trainer.matmul_precision=high",),
    "bfloat16": ("trainer.precision=bf16-mixed",),
    "compiled": ("trainer.compile=true",),
    "CUDA graphs": ("trainer.compile={mode:reduce-overhead}",),
    "CUDA graphs, TF32": ("trainer.compile={mode:reduce-overhead}", "trainer.matmul_precision=high"),
    "TF32, no images": ("trainer.matmul_precision=high", "callbacks=lean"),
}


def section(images: tuple[str, ...], fits: int = 5) -> str:
    """Make the report's section in Markdown; without a CUDA device, return that of the last report."""
    if not torch.cuda.is_available():
        return report.previous_section("GPU")
    rows = []
    for name, overrides in VARIANTS.items():
        try:
            cell = f"{statistics.median(fit_seconds((*overrides, *images), fits)):.3g} s"
        except RuntimeError as error:  # docs/performance.md: CUDA graphs
            print(f"  {name}: {error}")
            cell = ""
        rows.append([name, f"`{' '.join(overrides)}`", cell])
    return (
        "## GPU\n\nTen epochs of `model=mlp trainer=gpu` with all callbacks, except in the last row. "
        "Most of the time is spent on the CPU, which starts the kernels; see [GPU](performance.md#gpu). "
        f"Measured on {report.machine()}.\n\n"
        f"{report.markdown_table(['variant', 'overrides', 'time'], rows)}"
    )


def fit_seconds(overrides: tuple[str, ...], fits: int) -> list[float]:
    """Seconds of each fit, after one warm-up fit."""
    config = compose_resolved("model=mlp", "trainer=gpu", "trainer.max_epochs=10", *overrides)
    data = instantiate.instantiate_datamodule(config)
    times = []
    for _ in range(fits + 1):
        pl.seed_everything(config["seed"], verbose=False)
        with tempfile.TemporaryDirectory() as folder:
            trainer = instantiate.instantiate_trainer(config, Path(folder))
            task = instantiate.instantiate_task(config, data)
            start = time.perf_counter()
            trainer.fit(task, data)
            times.append(time.perf_counter() - start)
    return times[1:]
