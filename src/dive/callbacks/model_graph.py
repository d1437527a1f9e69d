"""The graph of the model's operations."""

import copy
import logging
import warnings
from contextlib import redirect_stdout

import pytorch_lightning as pl
import torch
from torch.jit import TracerWarning  # type: ignore[attr-defined]  # defined, but not in torch.jit's stubs

from dive.callbacks.tensorboard_base import summary_writers
from dive.visualization.predictions import preprocess_inputs

log = logging.getLogger(__name__)


class ModelGraph(pl.Callback):
    """Log the model's graph to TensorBoard; if the model cannot be traced, log a warning and train without it."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Trace an uncompiled copy of the model on one example; a resumed run has already logged the graph."""
        with summary_writers(trainer) as writers, torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # TensorBoard needs torch.jit.trace, which is deprecated and warns about data-dependent control flow.
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
            warnings.simplefilter("ignore", TracerWarning)
            warnings.filterwarnings("ignore", "The input to trace is already a ScriptModule")
            if not writers or trainer.global_step > 0:
                return
            model = copy.deepcopy(pl_module.model).cpu().eval()
            example = preprocess_inputs(trainer.datamodule.splits.val.inputs[:1].cpu(), pl_module)
            try:
                # Without check_trace=False, torch imports distributed tensors, which takes more than a second.
                traced = torch.jit.trace(model, example, check_trace=False)
                for writer in writers:
                    with redirect_stdout(None):  # add_graph prints the errors that it raises
                        writer.add_graph(traced, example)
            except Exception as error:  # tracing an arbitrary forward can raise anything
                log.warning(
                    "the model graph is not logged to TensorBoard because tracing failed: %s",
                    str(error).partition("\n")[0],
                )
