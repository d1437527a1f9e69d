"""Lightning's Trainer, and torch.compile as one more of its settings."""

from typing import Any, Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator
from pytorch_lightning.plugins.environments import SLURMEnvironment

from dive.errors import ConfigError
from dive.runs.checkpoint_io import AtomicCheckpointIO
from dive.training.fast.epoch_loop import FastTrainingEpochLoop
from dive.training.fast.hook_pruning import drop_empty_hooks

DEVICES = {
    "cuda": (CUDAAccelerator,),
    "gpu": (CUDAAccelerator, MPSAccelerator),
    "mps": (MPSAccelerator,),
}


def is_accelerator_available(accelerator: str) -> bool:
    """Whether this machine has what `trainer.accelerator` asks for."""
    return accelerator not in DEVICES or any(kind.is_available() for kind in DEVICES[accelerator])


class Trainer(pl.Trainer):
    """A Trainer that compiles the model where asked, and leaves batches, steps and checkpoints to this package.

    Args:
        steps_per_execution: see `dive.training.fast.epoch_loop.FastTrainingEpochLoop`; results do not depend on it.
        compile: run the model through `torch.compile`; a mapping holds that function's own arguments, such as
            ``{mode: reduce-overhead}``. Parameter names stay the same, so checkpoints fit both ways.
        matmul_precision: of float32 matrix products, as `torch.set_float32_matmul_precision` takes it.
        **settings: those of `pytorch_lightning.Trainer`.

    Raises:
        ValueError: there is no such accelerator on this machine, or a number cannot be.
    """

    def __init__(
        self,
        steps_per_execution: int = 1,
        compile: bool | dict[str, Any] = False,  # noqa: A002  # torch's word
        matmul_precision: Literal["highest", "high", "medium"] = "highest",
        **settings: Any,
    ) -> None:
        accelerator = str(settings.get("accelerator", "auto"))
        if not is_accelerator_available(accelerator):
            raise ValueError(f"this machine has no {accelerator}; choose trainer=auto or trainer=cpu")
        if settings.get("deterministic") is False and not torch.are_deterministic_algorithms_enabled():
            settings["deterministic"] = None  # to switch off what is off, torch would import its compiler
        # BatchOrder divides batches among processes itself.
        super().__init__(**settings, plugins=[AtomicCheckpointIO()], use_distributed_sampler=False)
        lightnings = self.fit_loop.epoch_loop
        self.fit_loop.epoch_loop = FastTrainingEpochLoop(
            self, steps_per_execution, min_steps=lightnings.min_steps, max_steps=lightnings.max_steps
        )
        self.compile = compile
        torch.set_float32_matmul_precision(matmul_precision)
        environment = self._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment):
            # Its checkpoint in the middle of an epoch would be lost on us: `dive.sweeps.launchers.preemption` requeues.
            environment.auto_requeue = False

    @property
    def log_dir(self) -> str:
        """The run's directory: where profiles go."""
        return self.default_root_dir

    def fit(self, model: pl.LightningModule, *args: Any, **kwargs: Any) -> None:
        """Compile where asked, then fit."""
        drop_empty_hooks(model, self.callbacks)
        self.maybe_compile(model)
        super().fit(model, *args, **kwargs)

    def maybe_compile(self, module: pl.LightningModule) -> None:
        """Have a task's model run through `torch.compile`, if that is set.

        Raises:
            ConfigError: `torch.compile` does not take these arguments.
        """
        if self.compile:
            try:
                module.model.compile(**(self.compile if isinstance(self.compile, dict) else {}))
            except (RuntimeError, TypeError) as error:
                raise ConfigError(f"trainer.compile={self.compile}: {error}") from error

    def teardown_loggers(self) -> None:
        """Let the loggers go that would wait for more."""
        for logger in self.loggers:
            if hasattr(logger, "close"):
                logger.close()
