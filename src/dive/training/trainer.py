"""Lightning's Trainer with `torch.compile` as a setting, a faster training loop and atomic checkpoints."""

import os
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment

from dive.errors import ConfigError, RunError, UserError
from dive.lazy.private_api import is_restoring, may_have_compiled
from dive.runs.checkpoint_io import AtomicCheckpointIO
from dive.training.fast.availability import install_fast_loop
from dive.training.fast.hook_pruning import drop_empty_hooks

DEVICES = {"cuda": (CUDAAccelerator,), "gpu": (CUDAAccelerator, MPSAccelerator), "mps": (MPSAccelerator,)}


def is_accelerator_available(accelerator: str) -> bool:
    """Whether this machine has the device that `trainer.accelerator` names."""
    return accelerator not in DEVICES or any(kind.is_available() for kind in DEVICES[accelerator])


class Trainer(pl.Trainer):
    """A `pytorch_lightning.Trainer` that can compile the model, with a faster loop and atomic checkpoints.

    Args:
        steps_per_execution: maximum number of training steps between two returns to Lightning's bookkeeping, see
            `dive.training.fast.epoch_loop.FastTrainingEpochLoop`; results do not depend on it.
        compile: run the model through `torch.compile`; a mapping holds that function's arguments, such as
            ``{mode: reduce-overhead}``. Parameter names stay the same, so checkpoints load with and without it.
        matmul_precision: precision of float32 matrix products, see `torch.set_float32_matmul_precision`.
        **settings: arguments of `pytorch_lightning.Trainer`.

    Raises:
        ValueError: this machine has no such accelerator, or a number is out of range.
    """

    def __init__(
        self,
        steps_per_execution: int = 1,
        compile: bool | dict[str, Any] = False,  # noqa: A002  # torch's term
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
        **settings: Any,
    ) -> None:
        accelerator = str(settings.get("accelerator", "auto"))
        if not is_accelerator_available(accelerator):
            raise ValueError(f"this machine has no {accelerator}; choose trainer=auto or trainer=cpu")
        if settings.get("deterministic") is False and not torch.are_deterministic_algorithms_enabled():
            settings["deterministic"] = None  # False would make torch import its compiler, and change nothing
        plugins: list[Any] = [AtomicCheckpointIO(Path(settings.get("default_root_dir") or Path.cwd()))]
        if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():  # Lightning's order
            # `dive.sweeps.launchers.preemption` requeues; Lightning would save a checkpoint of its own for that.
            plugins.append(SLURMEnvironment(auto_requeue=False))
        # ResumableBatchSampler distributes batches among processes itself.
        super().__init__(**settings, plugins=plugins, use_distributed_sampler=False)
        self._require_nodes()
        self.uses_fast_loop = install_fast_loop(self, steps_per_execution)
        self.compile = compile
        torch.set_float32_matmul_precision(matmul_precision)

    @property
    def log_dir(self) -> str:
        """The run directory, in which Lightning writes profiles."""
        return self.default_root_dir

    def _require_nodes(self) -> None:
        """Raise ValueError if there are several nodes and nothing that would start a process on the others."""
        environment = getattr(self.strategy, "cluster_environment", None)
        if self.num_nodes > 1 and type(environment) is LightningEnvironment and "MASTER_ADDR" not in os.environ:
            raise ValueError(
                f"num_nodes={self.num_nodes}: start it with SLURM or torchrun, or set MASTER_ADDR and NODE_RANK"
            )

    def fit(self, model: pl.LightningModule, *args: Any, **kwargs: Any) -> None:
        """Compile the model if configured, then fit.

        Raises:
            RunError: the state in the checkpoint does not fit the model, the optimizers or the callbacks.
        """
        if self.uses_fast_loop:
            drop_empty_hooks(model, self.callbacks)
        self.maybe_compile(model)
        try:
            super().fit(model, *args, **kwargs)
        except Exception as error:
            if isinstance(error, UserError | OSError) or not is_restoring(self):
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise RunError(f"{kwargs['ckpt_path']} does not fit this run: {reason}") from error

    def maybe_compile(self, module: pl.LightningModule) -> None:
        """Compile a task's model in place if `compile` is set.

        Raises:
            ConfigError: `torch.compile` rejects the configured arguments.
        """
        if self.compile:
            settings = self.compile if isinstance(self.compile, dict) else {}
            if settings and may_have_compiled():
                # With CUDA graphs, torch may run a graph of an earlier model on this one, if the addresses are
                # equal. It returns that model's parameters, now on the CPU, and the backward pass fails. The reset
                # discards the compiled code of all models in this process; they are compiled again when called.
                torch.compiler.reset()
            try:
                module.model.compile(**settings)
            except (RuntimeError, TypeError) as error:
                raise ConfigError(f"trainer.compile={self.compile}: {error}") from error

    def teardown_loggers(self) -> None:
        """Close the loggers that hold files or connections open."""
        for logger in self.loggers:
            if hasattr(logger, "close"):
                logger.close()
