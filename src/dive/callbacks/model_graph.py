"""The model as a graph of its operations."""

import copy
import warnings

import pytorch_lightning as pl
import torch

from dive.callbacks.showing import writers


class ModelGraph(pl.Callback):
    """Show in TensorBoard what the model does with one example."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Trace a copy of the model, which is not compiled; not when training goes on: it is there already."""
        with writers(trainer) as writing, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # TensorBoard's graphs are made by torch.jit.trace, which torch wants to leave behind.
            warnings.simplefilter("ignore", FutureWarning)
            if writing and trainer.global_step == 0:
                model = copy.deepcopy(pl_module.model).cpu().eval()
                example = next(iter(trainer.datamodule.val_dataloader()))[0][:1].cpu()
                for writer in writing:
                    writer.add_graph(model, example)
