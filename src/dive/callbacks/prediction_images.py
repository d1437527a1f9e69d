"""Predictions of a classifier on the validation set."""

from abc import abstractmethod
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import pytorch_lightning as pl
import torch
from torch import Tensor

from dive.callbacks.tensorboard_base import TensorBoardCallback, add_figure
from dive.data.datamodule import InMemoryDataModule
from dive.tasks.task import ClassificationTask, Task
from dive.visualization.predictions import Predictions, predict

MAX_PR_CURVES = 50


class PredictionCallback(TensorBoardCallback):
    """Base class of callbacks that log a classifier's predictions; subclasses implement `log_predictions`."""

    # The predictions of the last logged step: callbacks share one pass over the validation set.
    _cache: ClassVar[WeakKeyDictionary[Task, tuple[int, Predictions]]] = WeakKeyDictionary()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Discard the predictions of an earlier fit, whose steps have the same numbers."""
        super().on_train_start(trainer, pl_module)
        self._cache.pop(pl_module, None)

    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Compute the predictions, if the task is a classification, and log them."""
        if not isinstance(task, ClassificationTask):
            return
        if self._cache.get(task, (-1, None))[0] != step:
            with trainer.precision_plugin.forward_context():
                self._cache[task] = (step, predict(task, trainer.datamodule.splits.val))
        self.log_predictions(writer, self._cache[task][1], trainer.datamodule, step)

    @abstractmethod
    def log_predictions(self, writer: Any, predictions: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Log predictions on the validation set of `data`; for `writer` and `step` see `log_figures`."""


class SamplePredictions(PredictionCallback):
    """Log the first validation images with predicted class and confidence, and the true class if that differs.

    Args:
        num_images: number of images to show.
        every_n_epochs: see `dive.callbacks.tensorboard_base.TensorBoardCallback`.
    """

    tag = "validation/sample predictions"

    def __init__(self, num_images: int, every_n_epochs: int | None = None) -> None:
        super().__init__(every_n_epochs)
        self.num_images = num_images

    def log_predictions(self, writer: Any, predictions: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Log the images, if the inputs are images."""
        from dive.visualization.plots import plot_predictions  # slow to import: matplotlib

        indices = self.select(predictions)
        if predictions.inputs.ndim == 4 and len(indices):
            add_figure(writer, self.tag, plot_predictions(predictions, indices, data.class_names), step)

    def select(self, predictions: Predictions) -> Tensor:
        """Indices of the images to show."""
        return torch.arange(min(self.num_images, len(predictions.targets)))


class TopLosses(SamplePredictions):
    """Log the most confident mistakes on validation images; the arguments are those of `SamplePredictions`."""

    tag = "validation/top losses"

    def select(self, predictions: Predictions) -> Tensor:
        """Indices of the images to show."""
        return predictions.most_confident_errors(self.num_images)


class ConfusionMatrix(PredictionCallback):
    """Log the confusion matrix."""

    def log_predictions(self, writer: Any, predictions: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Log it as an image."""
        from dive.visualization.plots import plot_confusion_matrix  # slow to import: matplotlib

        figure = plot_confusion_matrix(predictions.confusion_matrix(), data.class_names)
        add_figure(writer, "validation/confusion matrix", figure, step)


class PRCurves(PredictionCallback):
    """Log a one-vs-rest precision-recall curve for each of the first `MAX_PR_CURVES` classes."""

    def log_predictions(self, writer: Any, predictions: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Log the curves."""
        for i, name in enumerate(data.class_names[:MAX_PR_CURVES]):
            labels, scores = predictions.targets == i, predictions.probabilities[:, i]
            writer.add_pr_curve(f"precision and recall/{name}", labels, scores, step)
