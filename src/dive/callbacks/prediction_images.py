"""What a classifier says of the validation examples."""

from abc import abstractmethod
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import pytorch_lightning as pl

from dive.callbacks.tensorboard_base import TensorBoardCallback
from dive.data.datamodule import InMemoryDataModule
from dive.tasks.task import ClassificationTask, Task
from dive.visualization.predictions import Predictions, predict

MAX_PR_CURVES = 50


class PredictionCallback(TensorBoardCallback):
    """Show something of what a classifier says. What that is, is all that subclasses add.

    Args:
        every_n_epochs: see `dive.callbacks.tensorboard_base.TensorBoardCallback`.
    """

    # Of the last step that one of them has asked for: the model need not say it again to the others.
    _said: ClassVar[WeakKeyDictionary[Task, tuple[int, Predictions]]] = WeakKeyDictionary()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget an earlier fit, whose steps have the same numbers."""
        super().on_train_start(trainer, pl_module)
        self._said.pop(pl_module, None)

    def log_figures(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Of classifications only."""
        if not isinstance(task, ClassificationTask):
            return
        if self._said.get(task, (-1, None))[0] != step:
            with trainer.precision_plugin.forward_context():
                self._said[task] = (step, predict(task, trainer.datamodule.splits.val))
        self.log_predictions(writer, self._said[task][1], trainer.datamodule, step)

    @abstractmethod
    def log_predictions(self, writer: Any, said: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Hand something over to TensorBoard.

        Args:
            writer: a `torch.utils.tensorboard.SummaryWriter`.
            said: of the validation examples.
            data: whose these are.
            step: the last one that was taken.
        """


class SamplePredictions(PredictionCallback):
    """The first validation images: what each is taken for and how surely, and what it is, if something else.

    Args:
        num_images: to be shown.
        every_n_epochs: see `dive.callbacks.tensorboard_base.TensorBoardCallback`.
    """

    def __init__(self, num_images: int, every_n_epochs: int | None = None) -> None:
        super().__init__(every_n_epochs)
        self.num_images = num_images

    def log_predictions(self, writer: Any, said: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Draw them, where they are images."""
        from dive.visualization import plots  # slow to import: matplotlib

        which = self.select(said)
        if said.inputs.ndim == 4 and len(which):
            drawn = plots.figure_to_array(plots.plot_predictions(said, which, data.class_names))
            writer.add_image(f"validation/{type(self).__name__.lower()}", drawn, step, dataformats="HWC")

    def select(self, said: Predictions) -> Any:
        """Indices of those to be shown."""
        return range(min(self.num_images, len(said.targets)))


class TopLosses(SamplePredictions):
    """The validation images that the model gets wrong and is surest of; its arguments are those of `SamplePredictions`."""

    def select(self, said: Predictions) -> Any:
        """Indices of those to be shown."""
        return said.most_confident_errors(self.num_images)


class ConfusionMatrix(PredictionCallback):
    """Which classes are taken for which.

    Args:
        every_n_epochs: see `dive.callbacks.tensorboard_base.TensorBoardCallback`.
    """

    def log_predictions(self, writer: Any, said: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Draw it."""
        from dive.visualization import plots  # slow to import: matplotlib

        drawn = plots.figure_to_array(plots.plot_confusion_matrix(said.confusion(), data.class_names))
        writer.add_image("validation/confusion matrix", drawn, step, dataformats="HWC")


class PRCurves(PredictionCallback):
    """Precision against recall of each class against all others, over the threshold of its probability.

    Of many classes, the first `MAX_PR_CURVES`.

    Args:
        every_n_epochs: see `dive.callbacks.tensorboard_base.TensorBoardCallback`.
    """

    def log_predictions(self, writer: Any, said: Predictions, data: InMemoryDataModule, step: int) -> None:
        """Hand over a curve a class."""
        for i, name in enumerate(data.class_names[:MAX_PR_CURVES]):
            writer.add_pr_curve(f"precision and recall/{name}", said.targets == i, said.probabilities[:, i], step)
