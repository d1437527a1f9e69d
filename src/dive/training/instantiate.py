"""From configuration to objects: the one module that knows both."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Checkpoint, ProgressBar
from pytorch_lightning.utilities.exceptions import MisconfigurationException

import dive.data
from dive.config.naming import job_defining_overrides
from dive.data.datamodule import InMemoryDataModule
from dive.data.memory import require_memory
from dive.errors import ConfigError, did_you_mean
from dive.runs.record import Config
from dive.runs.run import Run
from dive.tasks.metric_mode import metric_mode
from dive.tasks.task import Task
from dive.training.trainer import Trainer


def instantiate_run(config: Config) -> Run:
    """The run, in the directory that Hydra has given this job."""
    hydra = HydraConfig.get()
    in_sweep = hydra.mode is RunMode.MULTIRUN
    return Run(
        Path(hydra.runtime.output_dir),
        config,
        command=shlex.join(["python", "train.py", *job_defining_overrides(hydra.overrides.task)])
        if in_sweep
        else None,
        resume=config["resume"] is not None,
        quiet=in_sweep,
    )


def instantiate_datamodule(config: Config) -> InMemoryDataModule:
    """The data module; nothing is loaded yet.

    Raises:
        DataError: it is larger than the memory that is free: told before a model of its size is built.
    """
    made: InMemoryDataModule = _build(config, "data")
    require_memory(made.num_bytes, made.name, made.sized_by)
    return made


def instantiate_task(config: Config, data: InMemoryDataModule) -> Task:
    """The model, of the data's shape, in its task with loss and optimizer.

    Raises:
        ConfigError: the task does not fit the data, does not measure what is to be optimized, or a constructor
            refuses an argument; the optimizer's is tried here, before data are loaded.
    """
    built: Task = _build(
        config,
        "task",
        model=_build(config, "model", num_inputs=data.num_inputs, num_outputs=data.num_outputs),
        optimizer=_build(config, "optimizer"),
        scheduler=_build(config, "scheduler") if config.get("scheduler") else None,
    )
    if built.targets != data.targets:
        fitting = [kind.name for kind in vars(dive.data).values() if getattr(kind, "targets", "") == built.targets]
        raise ConfigError(
            f"data={type(data).name}: {type(built).__name__} predicts {built.targets}, and these are "
            f"{data.targets}; choose another model, or data from {', '.join(fitting)}"
        )
    measured = [f"{split}/{metric}" for metric in built.metrics for split in ("val", "train")]
    if config["monitor"] not in measured:
        raise ConfigError(f"monitor={config['monitor']}: {did_you_mean(config['monitor'], measured)}")
    metric_mode(config["monitor"], config["mode"])
    try:
        built.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {error}") from error
    return built


def instantiate_trainer(config: Config, directory: Path) -> Trainer:
    """The trainer with its callbacks and loggers, all writing below a run's directory."""
    callbacks = _build_all(config["callbacks"], "callbacks")
    return _build(
        config,
        "trainer",
        callbacks=callbacks,
        # Else Lightning would put its own in the place of those that are switched off.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        logger=_build_all(config["logger"], "logger", save_dir=str(directory)),
        default_root_dir=str(directory),
    )


def _build_all(group: Mapping[str, Any] | None, key: str, **given: Any) -> list[Any]:
    present = {name: node for name, node in (group or {}).items() if node is not None}
    return [_build(present, name, key, **given) for name in present]


def _build(config: Mapping[str, Any], key: str, parent: str = "", **given: Any) -> Any:
    name = f"{parent}.{key}" if parent else key
    try:
        # Objects are handed over as they are: Hydra would copy those that pass through its configuration.
        made = instantiate(config[key], _partial_=True, _convert_="all")
        return made if config[key].get("_partial_") else made(**given)
    except (TypeError, ValueError, InstantiationException, MisconfigurationException) as error:
        raise ConfigError(f"{name}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        raise ConfigError(f"{name}: too large for the memory of this machine") from error
