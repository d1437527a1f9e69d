"""Instantiate the run, data module, task and trainer that a configuration describes."""

import inspect
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from pytorch_lightning.callbacks import Callback, Checkpoint, ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim import Optimizer

import dive.data
from dive.config.naming import job_defining_overrides
from dive.data.datamodule import InMemoryDataModule
from dive.data.memory import require_memory
from dive.errors import ConfigError, did_you_mean
from dive.runs.record import Config
from dive.runs.run import Run
from dive.tasks.lazy_layers import has_lazy_layers, initialize_lazy_layers
from dive.tasks.metric_mode import metric_mode
from dive.tasks.task import Task
from dive.training.scheduler import instantiate_schedule
from dive.training.trainer import Trainer

BASE_CLASSES: dict[str, type] = {
    "callbacks": Callback,
    "data": InMemoryDataModule,
    "logger": Logger,
    "model": nn.Module,
    "optimizer": Optimizer,
    "task": Task,
    "trainer": Trainer,
}


def instantiate_run(config: Config) -> Run:
    """The run in the output directory that Hydra has chosen for the current job."""
    hydra = HydraConfig.get()
    in_sweep = hydra.mode is RunMode.MULTIRUN
    overrides = job_defining_overrides(hydra.overrides.task)
    return Run(
        Path(hydra.runtime.output_dir),
        config,
        command=shlex.join(["python", "train.py", *overrides]) if in_sweep else "",
        resume=config["resume"] is not None,
        quiet=in_sweep,
    )


def instantiate_datamodule(config: Config) -> InMemoryDataModule:
    """The data module; it loads nothing yet.

    Raises:
        DataError: the data do not fit in the available memory (checked before a model of their size is built).
    """
    data: InMemoryDataModule = _instantiate(config, "data")
    require_memory(data.num_bytes, data.name, data.size_keys)
    return data


def instantiate_task(config: Config, data: InMemoryDataModule) -> Task:
    """The task with loss and optimizer, around a model that fits the shape of the data.

    Raises:
        ConfigError: the task does not fit the data or lacks the monitored metric, or an argument is rejected; the
            optimizer is constructed once, to find its errors before data are loaded.
    """
    task: Task = _instantiate(
        config,
        "task",
        model=_instantiate(config, "model", num_inputs=data.num_inputs, num_outputs=data.num_outputs),
        optimizer=_instantiate(config, "optimizer"),
        scheduler=instantiate_schedule(config),
    )
    if task.targets != data.targets:
        suitable = [kind.name for kind in vars(dive.data).values() if getattr(kind, "targets", "") == task.targets]
        raise ConfigError(
            f"data={type(data).name}: {type(task).__name__} predicts {task.targets}, but this data set has "
            f"{data.targets}; choose another model, or one of these data sets: {', '.join(suitable)}"
        )
    metrics = [f"{split}/{metric}" for metric in task.metrics for split in ("val", "train")]
    monitors = {"monitor": config["monitor"], "scheduler.monitor": (config.get("scheduler") or {}).get("monitor")}
    for key, monitor in monitors.items():
        if monitor not in (*metrics, None):
            raise ConfigError(f"{key}={monitor}: {did_you_mean(monitor, metrics)}")
    metric_mode(config["monitor"], config["mode"])
    if torch.get_default_device().type == "meta" and has_lazy_layers(task.model):
        return task  # jobs of a sweep are validated without data
    initialize_lazy_layers(task.model, lambda: _first_inputs(data))
    try:
        task.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"optimizer: {error}") from error
    return task


def _first_inputs(data: InMemoryDataModule) -> Tensor:
    data.prepare_data()
    return data.splits.train.inputs[:2]


def instantiate_trainer(config: Config, directory: Path) -> Trainer:
    """The trainer with its callbacks and loggers, which all write to a run directory."""
    callbacks = _instantiate_group(config.get("callbacks"), "callbacks")
    return _instantiate(
        config,
        "trainer",
        callbacks=callbacks,
        # Otherwise Lightning would add its own in place of those that are switched off.
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        logger=_instantiate_group(config.get("logger"), "logger", save_dir=str(directory)),
        default_root_dir=str(directory),
    )


def _instantiate_group(group: Mapping[str, Any] | None, key: str, **arguments: Any) -> list[Any]:
    nodes = {name: node for name, node in (group or {}).items() if node is not None}
    return [_instantiate(nodes, name, key, **arguments) for name in nodes]


def _instantiate(config: Mapping[str, Any], key: str, parent: str = "", **arguments: Any) -> Any:
    name = f"{parent}.{key}" if parent else key
    try:
        # Arguments that are objects go to the partial: Hydra would copy those passed through `instantiate`.
        partial = instantiate(config[key], _partial_=True, _convert_="all")
        _require_kind(partial.func, name)
        return partial if config[key].get("_partial_") else _require_kind(partial(**arguments), name)
    except (TypeError, ValueError, InstantiationException, MisconfigurationException) as error:
        raise ConfigError(f"{name}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and "allocate" not in str(error):
            raise
        raise ConfigError(f"{name}: too large for the memory of this machine") from error


def _require_kind(built: Any, key: str) -> Any:
    base = BASE_CLASSES[key.partition(".")[0]]
    if inspect.isclass(built):
        if not issubclass(built, base):
            raise ConfigError(f"{key}._target_: {built.__name__} is not a subclass of {base.__name__}")
    elif not inspect.isroutine(built) and not isinstance(built, base):
        raise ConfigError(f"{key}: must build an object of type {base.__name__}, got {type(built).__name__}")
    return built
