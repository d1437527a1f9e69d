"""What a classifier says of the validation examples."""

from abc import abstractmethod
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import pytorch_lightning as pl

from dive.callbacks.showing import Showing
from dive.data.module import DataModule
from dive.predictions import Predictions, predict
from dive.tasks import Classification, Task

MOST_CURVES = 50


class Predicted(Showing):
    """Show something of what a classifier says. What that is, is all that subclasses add.

    Args:
        every_n_epochs: see `dive.callbacks.showing.Showing`.
    """

    # Of the last step that one of them has asked for: the model need not say it again to the others.
    _said: ClassVar[WeakKeyDictionary[Task, tuple[int, Predictions]]] = WeakKeyDictionary()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget an earlier fit, whose steps have the same numbers."""
        super().on_train_start(trainer, pl_module)
        self._said.pop(pl_module, None)

    def show(self, writer: Any, trainer: pl.Trainer, task: pl.LightningModule, step: int) -> None:
        """Of classifications only."""
        if not isinstance(task, Classification):
            return
        if self._said.get(task, (-1, None))[0] != step:
            with trainer.precision_plugin.forward_context():
                self._said[task] = (step, predict(task, trainer.datamodule.splits.val))
        self.show_predictions(writer, self._said[task][1], trainer.datamodule, step)

    @abstractmethod
    def show_predictions(self, writer: Any, said: Predictions, data: DataModule, step: int) -> None:
        """Hand something over to TensorBoard.

        Args:
            writer: a `torch.utils.tensorboard.SummaryWriter`.
            said: of the validation examples.
            data: whose these are.
            step: the last one that was taken.
        """


class Samples(Predicted):
    """The first validation images: what each is taken for and how surely, and what it is, if something else.

    Args:
        num_images: to be shown.
        every_n_epochs: see `dive.callbacks.showing.Showing`.
    """

    def __init__(self, num_images: int, every_n_epochs: int | None = None) -> None:
        super().__init__(every_n_epochs)
        self.num_images = num_images

    def show_predictions(self, writer: Any, said: Predictions, data: DataModule, step: int) -> None:
        """Draw them, where they are images."""
        from dive import pictures  # slow to import: matplotlib

        which = self.choose(said)
        if said.inputs.ndim == 4 and len(which):
            drawn = pictures.pixels(pictures.predicted_images(said, which, data.class_names))
            writer.add_image(f"validation/{type(self).__name__.lower()}", drawn, step, dataformats="HWC")

    def choose(self, said: Predictions) -> Any:
        """Indices of those to be shown."""
        return range(min(self.num_images, len(said.targets)))


class Mistakes(Samples):
    """The validation images that the model gets wrong and is surest of; its arguments are those of `Samples`."""

    def choose(self, said: Predictions) -> Any:
        """Indices of those to be shown."""
        return said.mistakes(self.num_images)


class ConfusionMatrix(Predicted):
    """Which classes are taken for which.

    Args:
        every_n_epochs: see `dive.callbacks.showing.Showing`.
    """

    def show_predictions(self, writer: Any, said: Predictions, data: DataModule, step: int) -> None:
        """Draw it."""
        from dive import pictures  # slow to import: matplotlib

        drawn = pictures.pixels(pictures.confusion_matrix(said.confusion(), data.class_names))
        writer.add_image("validation/confusion matrix", drawn, step, dataformats="HWC")


class PRCurves(Predicted):
    """Precision against recall of each class against all others, over the threshold of its probability.

    Of many classes, the first `MOST_CURVES`.

    Args:
        every_n_epochs: see `dive.callbacks.showing.Showing`.
    """

    def show_predictions(self, writer: Any, said: Predictions, data: DataModule, step: int) -> None:
        """Hand over a curve a class."""
        for i, name in enumerate(data.class_names[:MOST_CURVES]):
            writer.add_pr_curve(f"precision and recall/{name}", said.targets == i, said.probabilities[:, i], step)
