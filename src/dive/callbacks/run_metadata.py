"""Configuration, command and environment of the run in TensorBoard."""

from pathlib import Path

import pytorch_lightning as pl

from dive.callbacks.tensorboard_base import summary_writers

# Title in TensorBoard, file in the run directory, and language for syntax highlighting.
METADATA_FILES = (
    ("config", "config.yaml", "yaml"),
    ("command", "command.txt", "sh"),
    ("environment", "environment.json", "json"),
)


class RunMetadata(pl.Callback):
    """Log the resolved configuration, the command and the environment of a run as text to TensorBoard."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the files that exist in the run directory."""
        with summary_writers(trainer) as writers:
            for title, name, language in METADATA_FILES:
                path = Path(trainer.default_root_dir) / name
                if writers and path.is_file():
                    for writer in writers:
                        text = f"```{language}\n{path.read_text()}\n```"
                        writer.add_text(f"run/{title}", text, trainer.global_step)
