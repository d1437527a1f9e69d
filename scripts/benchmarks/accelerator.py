"""Ten epochs of the MLP on a CUDA device, by precision and compilation, and in a hand-written loop."""

import statistics
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from benchmarks import report
from benchmarks.baselines import Baseline
from dive.config.compose import compose_resolved
from dive.data.datamodule import EVAL_BATCH_SIZE, Splits
from dive.training import instantiate

MLP = ("model=mlp", "trainer=gpu", "trainer.max_epochs=10")
VARIANTS: dict[str, tuple[str, ...]] = {
    "float32": ("trainer.precision=32-true",),
    "TF32": ("trainer.matmul_precision=high",),
    "bfloat16": ("trainer.precision=bf16-mixed",),
    "compiled": ("trainer.compile=true",),
    "CUDA graphs": ("trainer.compile={mode:reduce-overhead}",),
    "CUDA graphs, TF32": ("trainer.compile={mode:reduce-overhead}", "trainer.matmul_precision=high"),
    "TF32, no images": ("trainer.matmul_precision=high", "callbacks=lean"),
}


class DeviceLoop(Baseline):
    """A plain training loop over tensors on the device of the splits, with the batches of dive."""

    def epoch(self) -> tuple[float, float]:
        """Train and validate; return the validation loss and accuracy."""
        train, val, _ = self.splits
        device = train.inputs.device
        self.model.to(device)
        for batch in torch.randperm(len(train), device=device).split(self.batch_size):
            self.step(train.inputs[batch], train.targets[batch])
        sums, size = torch.zeros(2, device=device), max(self.batch_size, EVAL_BATCH_SIZE)
        with torch.no_grad():
            for x, y in zip(val.inputs.split(size), val.targets.split(size), strict=True):
                outputs = self.model(x)
                sums += torch.stack([self.loss(outputs, y) * len(y), (outputs.argmax(1) == y).sum()])
        loss, acc = (sums / len(val)).tolist()
        return loss, acc


def section(images: tuple[str, ...], fits: int = 5) -> str:
    """Make the report's section in Markdown; without a CUDA device, return that of the last report."""
    if not torch.cuda.is_available():
        return report.previous_section("GPU")
    loop = statistics.median(loop_seconds(images, fits))
    rows = [["hand-written loop, TF32", "", f"{loop:.3g} s", "1"]]
    for name, overrides in VARIANTS.items():
        try:
            seconds = statistics.median(fit_seconds((*overrides, *images), fits))
            cells = [f"{seconds:.3g} s", f"{seconds / loop:.3g}"]
        except RuntimeError as error:  # such as a missing C compiler
            print(f"  {name}: {error}")
            cells = ["", ""]
        rows.append([name, f"`{' '.join(overrides)}`", *cells])
    return (
        "## GPU\n\nTen epochs of `model=mlp trainer=gpu` with all callbacks, except in the last row, and the "
        "ratio to a hand-written loop. With CUDA graphs, the time includes compilation. Most of the time is spent "
        f"on the CPU, which starts the kernels; see [GPU](performance.md#gpu). Measured on {report.machine()}.\n\n"
        f"{report.markdown_table(['variant', 'overrides', 'time', 'ratio'], rows)}"
    )


def fit_seconds(overrides: tuple[str, ...], fits: int) -> list[float]:
    """Seconds of each fit, after one warm-up fit."""
    config = compose_resolved(*MLP, *overrides)
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


def loop_seconds(images: tuple[str, ...], fits: int, device: str = "cuda") -> list[float]:
    """Seconds of as many epochs of the hand-written loop with TF32, after as many for warm-up."""
    config = compose_resolved(*MLP, *images)
    torch.set_float32_matmul_precision("high")
    loop = DeviceLoop(config, instantiate.instantiate_datamodule(config), Path())
    loop.splits = Splits(*(split.to(torch.device(device)) for split in loop.splits[:2]))
    epochs = config["trainer"]["max_epochs"]
    return [sum(loop.seconds() for _ in range(epochs)) for _ in range(fits + 1)][1:]
