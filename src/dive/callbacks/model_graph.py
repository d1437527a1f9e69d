"""The model as a graph of its operations."""

import copy
import logging
import warnings
from contextlib import redirect_stdout

import pytorch_lightning as pl
import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]  # it is, but not in so many words

from dive.callbacks.tensorboard_base import summary_writers
from dive.visualization.predictions import preprocess_inputs

log = logging.getLogger(__name__)


class ModelGraph(pl.Callback):
    """Show in TensorBoard what the model does with one example; one that cannot be traced is told, and trained."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Trace a copy of the model, which is not compiled; not when training goes on: it is there already."""
        with summary_writers(trainer) as writing, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # TensorBoard's graphs are made by torch.jit.trace, which torch wants to leave behind, and which warns
            # where another example might take another path.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", TracerWarning)
            warnings.filterwarnings("ignore", "The input to trace is already a ScriptModule")
            if not writing or trainer.global_step > 0:
                return
            model = copy.deepcopy(pl_module.model).cpu().eval()
            example = preprocess_inputs(trainer.datamodule.splits.val.inputs[:1].cpu(), pl_module)
            try:
                # TensorBoard would have it checked, for which torch imports distributed tensors: over a second.
                traced = torch.jit.trace(model, example, check_trace=False)
                for writer in writing:
                    with redirect_stdout(None):  # it prints what it raises
                        writer.add_graph(traced, example)
            except Exception as error:  # whatever tracing makes of a forward that it does not understand
                log.warning("TensorBoard gets no graph of the model: %s", str(error).partition("\n")[0])
