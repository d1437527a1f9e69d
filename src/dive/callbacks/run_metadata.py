"""What was run, beside its curves."""

from pathlib import Path

import pytorch_lightning as pl

from dive.callbacks.tensorboard_base import summary_writers

# The tab's name for each of a run's files, and in which language they are written.
METADATA_FILES = {
    "config": ("config.yaml", "yaml"),
    "command": ("command.txt", "sh"),
    "environment": ("environment.json", "json"),
}


class RunMetadata(pl.Callback):
    """Show a run's resolved configuration, its command and its environment as texts in TensorBoard."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand over the files of the run's directory, if it is one."""
        folder = Path(trainer.default_root_dir)
        with summary_writers(trainer) as writing:
            for title, (name, language) in METADATA_FILES.items():
                if writing and (folder / name).is_file():
                    text = f"```{language}\n{(folder / name).read_text()}\n```"
                    for writer in writing:
                        writer.add_text(f"run/{title}", text, trainer.global_step)
