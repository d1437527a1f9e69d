"""Baselines for an epoch of dive: each trains and validates a copy of the task's model, one epoch per call."""

import gzip
import importlib.util
import time
from abc import ABC, abstractmethod
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy
from torchvision import datasets, transforms

from dive.data.datamodule import InMemoryDataModule, Splits
from dive.runs.record import Config
from dive.tasks.task import Batch
from dive.training import instantiate


class Baseline(ABC):
    """A training loop that starts from the task's initial weights. Subclasses implement an epoch.

    Args:
        config: the configuration of the run that it is compared with.
        data: the data of that run.
        folder: an empty folder for files that the baseline reads or writes.
    """

    def __init__(self, config: Config, data: InMemoryDataModule, folder: Path) -> None:
        task = instantiate.instantiate_task(config, data)
        self.model, self.loss = task.model, task.loss
        self.optimizer = task.configure_optimizers()["optimizer"]
        self.splits: Splits = data.splits
        self.batch_size = data.batch_size
        self.folder = folder

    @abstractmethod
    def epoch(self) -> Any:
        """Train and validate."""

    def seconds(self) -> float:
        """Run an epoch and return its duration."""
        start = time.perf_counter()
        self.epoch()
        return time.perf_counter() - start

    def step(self, x: Tensor, y: Tensor) -> None:
        """Take an optimizer step on one batch."""
        loss = self.loss(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class HandWritten(Baseline):
    """A plain training loop over tensors in memory, without Lightning and logging."""

    def epoch(self) -> tuple[float, int]:
        """Train and validate; return the validation loss and the number of correct predictions."""
        train, val = self.splits.train, self.splits.val
        for batch in torch.randperm(len(train)).split(self.batch_size):
            self.step(train.inputs[batch], train.targets[batch])
        with torch.no_grad():
            total, correct = torch.tensor(0.0), torch.tensor(0)
            for x, y in zip(val.inputs.split(self.batch_size), val.targets.split(self.batch_size), strict=True):
                outputs: Tensor = self.model(x)
                total += self.loss(outputs, y) * len(y)
                correct += (outputs.argmax(1) == y).sum() if y.ndim == 1 else 0
        return total.item() / len(val), int(correct)


class ItemDataLoader(Baseline):
    """The same loop over torchvision's dataset, which transforms and collates image by image."""

    def __init__(self, config: Config, data: InMemoryDataModule, folder: Path) -> None:
        super().__init__(config, data, folder)
        extract_archives(Path(config["data"]["root"]), folder)
        self.train, self.val = (
            DataLoader(
                datasets.FashionMNIST(str(folder), train=train, transform=transforms.ToTensor()),
                batch_size=self.batch_size,
                shuffle=train,
            )
            for train in (True, False)
        )

    def epoch(self) -> float:
        """Train and validate."""
        for x, y in self.train:
            self.step(x, y)
        with torch.no_grad():
            return sum(float(self.loss(self.model(x), y)) for x, y in self.val)


class PerStepModule(pl.LightningModule):
    """A typical LightningModule: torchmetrics objects, and `self.log` in each step."""

    def __init__(self, model: nn.Module, loss: Any, optimizer: torch.optim.Optimizer) -> None:
        super().__init__()
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.acc = nn.ModuleDict({stage: MulticlassAccuracy(10, average="micro") for stage in ("fit", "val")})

    def _step(self, batch: Batch, stage: str) -> Tensor:
        x, y = batch
        outputs = self.model(x)
        loss: Tensor = self.loss(outputs, y)
        self.acc[stage](outputs, y)
        self.log(f"{stage}/loss", loss, on_step=stage == "fit", on_epoch=True)
        self.log(f"{stage}/acc", self.acc[stage], on_step=stage == "fit", on_epoch=True)
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Compute the training loss."""
        return self._step(batch, "fit")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the validation metrics."""
        self._step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer passed to the constructor."""
        return self.optimizer


class PerStepLogging(Baseline):
    """Plain Lightning: TensorDataset, TensorBoard, best and last checkpoints, metrics logged in each step."""

    def __init__(self, config: Config, data: InMemoryDataModule, folder: Path) -> None:
        super().__init__(config, data, folder)
        self.module = PerStepModule(self.model, self.loss, self.optimizer)
        self.loaders = [
            DataLoader(TensorDataset(split.inputs, split.targets), batch_size=self.batch_size, shuffle=shuffle)
            for split, shuffle in ((self.splits.train, True), (self.splits.val, False))
        ]
        self.timer = EpochTimer()
        self.trainer = pl.Trainer(
            max_epochs=0,
            accelerator="cpu",
            logger=TensorBoardLogger(folder),
            callbacks=[ModelCheckpoint(monitor="val/acc", mode="max", save_last=True), self.timer],
            default_root_dir=folder,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    def epoch(self) -> None:
        """Train and validate for one more epoch."""
        self.trainer.fit_loop.max_epochs += 1
        self.trainer.fit(self.module, *self.loaders)

    def seconds(self) -> float:
        """Run an epoch and return its duration, without the set-up and teardown of `fit`."""
        self.epoch()
        return self.timer.seconds


class EpochTimer(pl.Callback):
    """Time an epoch, including validation and checkpoints."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the timer."""
        self.start = time.perf_counter()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the timer."""
        self.seconds = time.perf_counter() - self.start


class D2LTrainer(Baseline):
    """The trainer, data set and data loader of the book's d2l package, without its plots."""

    def __init__(self, config: Config, data: InMemoryDataModule, folder: Path) -> None:
        super().__init__(config, data, folder)
        from d2l import torch as d2l  # type: ignore[import-not-found]  # not a dependency

        extract_archives(Path(config["data"]["root"]), folder / "data")
        (folder / "chapter").mkdir()
        with chdir(folder / "chapter"):  # d2l reads ../data
            images = d2l.FashionMNIST(batch_size=self.batch_size)
        module = d2l.Classifier()
        module.net, module.board.display = self.model, False
        self.trainer = d2l.Trainer(max_epochs=1)
        self.trainer.prepare_data(images)
        self.trainer.prepare_model(module)
        self.trainer.optim = self.optimizer
        self.trainer.epoch = self.trainer.train_batch_idx = self.trainer.val_batch_idx = 0

    def epoch(self) -> None:
        """Train and validate."""
        self.trainer.fit_epoch()


def is_d2l_installed() -> bool:
    """Return whether the d2l package is installed; it is not a dependency of dive."""
    return importlib.util.find_spec("d2l") is not None


def extract_archives(root: Path, folder: Path) -> None:
    """Extract the four files of Fashion-MNIST into `folder`, in the layout that torchvision reads."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for archive in (root / "FashionMNIST" / "raw").glob("*-ubyte.gz"):
        (raw / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
