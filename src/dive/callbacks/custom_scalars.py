"""Charts in TensorBoard that show related curves together."""

import pytorch_lightning as pl

from dive.callbacks.tensorboard_base import summary_writers


class CustomScalarLayout(pl.Callback):
    """Set TensorBoard's Custom Scalars layout: training and validation of each metric on one chart, and norms."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the layout; it refers to the curves by tag."""
        metrics = {metric: ["Multiline", [f"^train/{metric}$", f"^val/{metric}$"]] for metric in pl_module.metrics}
        training = {"learning rate": ["Multiline", ["^lr$"]], "norms": ["Multiline", ["^norm/"]]}
        with summary_writers(trainer) as writers:
            for writer in writers:
                writer.add_custom_scalars({"training and validation": metrics, "training": training})
