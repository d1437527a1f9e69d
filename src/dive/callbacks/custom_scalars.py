"""Curves that belong together on one chart."""

import pytorch_lightning as pl

from dive.callbacks.tensorboard_base import summary_writers


class CustomScalarLayout(pl.Callback):
    """Lay out TensorBoard's Custom Scalars: training and validation of a metric on one chart, norms on another."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand the layout over; the curves come by themselves."""
        metrics = {metric: ["Multiline", [f"^train/{metric}$", f"^val/{metric}$"]] for metric in pl_module.metrics}
        training = {"learning rate": ["Multiline", ["^lr$"]], "norms": ["Multiline", ["^norm/"]]}
        with summary_writers(trainer) as writing:
            for writer in writing:
                writer.add_custom_scalars({"training and validation": metrics, "training": training})
