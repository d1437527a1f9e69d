"""Read and validate a run's record, which anybody may have edited, to rebuild the run from it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dive.config import compose
from dive.config.allowlist import resolve_target
from dive.config.resume_override import not_a_run_error
from dive.config.structure import missing_keys
from dive.config.tuner_request import TUNED_KEYS
from dive.config.validation import validate_run_config
from dive.errors import ConfigError, RunError
from dive.runs.checkpoint_io import CorruptCheckpointError, load_checkpoint
from dive.runs.checkpoint_schema import Checkpoint
from dive.runs.record import Config, diff_configs, load_environment, read_config, without_urls
from dive.runs.resume import CHANGEABLE_ON_RESUME
from dive.runs.run import CHECKPOINT_NAMES

SOURCE_KEYS = ("root", "path")  # keys of `data` that say where the data are read from
HYDRA_KEYS = ("hydra", "defaults")  # keys that Hydra would act on


def validated_config(directory: Path, without: Sequence[str] = ()) -> Config:
    """Load and validate a run's ``config.yaml``, without external loggers; the groups in `without` are emptied.

    Raises:
        RunError: the directory is not a run, or the file is not its recorded configuration.
        ConfigError: the configuration is invalid; the message has one line per mistake.
    """
    file = directory / "config.yaml"
    if not file.is_file():
        raise RunError(f"{directory}: {not_a_run_error(directory)}")
    config = without_urls(read_config(directory))
    if missing := missing_keys(config):
        raise RunError(f"{file} is not the recorded configuration of a run: it has no {', '.join(missing)}")
    if forbidden := [key for key in HYDRA_KEYS if key in config]:
        raise RunError(f"{file} is not the recorded configuration of a run: it has {', '.join(forbidden)}")
    config = without_external_loggers(config) | {group: {} for group in without}
    validate_run_config(config)
    if tuner := next((name for name in TUNED_KEYS if config.get(name)), None):
        raise RunError(f"{directory}: is a tuner run ({tuner}=true), which has no trained weights")
    return config


def without_external_loggers(config: Config) -> Config:
    """A configuration without loggers that need a package of their own, since those log to external services."""
    loggers = config.get("logger")
    if not isinstance(loggers, dict):
        return config
    return config | {"logger": {name: node for name, node in loggers.items() if not _is_external(node)}}


def _is_external(logger: Any) -> bool:
    try:
        return isinstance(logger, dict) and hasattr(resolve_target(logger.get("_target_")), "requires")
    except ConfigError:
        return False  # `validate_config` reports it


def was_edited(directory: Path, config: Config) -> list[str]:
    """List what differs between a run's ``config.yaml``, given as `config`, and its checkpoint, one line per key.

    Raises:
        RunError: the checkpoint cannot be read.
    """
    path = next((path for name in CHECKPOINT_NAMES if (path := directory / "checkpoints" / name).is_file()), None)
    saved = load_checkpoint(path).get("config") if path else None
    if path is None or saved is None:
        return []
    # The best checkpoint may have been saved before the run was resumed with other settings.
    ignored = tuple(f"{key}." for key in CHANGEABLE_ON_RESUME) if path.name != CHECKPOINT_NAMES[0] else ()
    return [line for line in diff_configs(saved, config) if not line.startswith(ignored)]


def replace_data(config: Config, name: str) -> Config:
    """A configuration with another data set of ``conf/data``, its images resized as the model requires.

    Raises:
        ConfigError: there is no such data set.
    """
    data: Config = compose.compose_job([f"data={name}", f"seed={config['seed']}"])[0]["data"]
    resize = {"resize": config["data"]["resize"]} if "resize" in data and "resize" in config["data"] else {}
    return config | {"data": data | resize}


def relocate_data(config: Config, path: Path | None) -> Config:
    """A configuration that reads its data from another folder or file; None keeps the recorded one.

    Raises:
        RunError: the data are not read from files.
    """
    if path is None:
        return config
    key = next((key for key in SOURCE_KEYS if key in config["data"]), None)
    if key is None:
        raise RunError(f"--data-at {path}: this data set is not read from files; remove the option")
    return config | {"data": config["data"] | {key: str(path.absolute())}}


def resolve_checkpoint(directory: Path, name: str | None) -> tuple[Path, Checkpoint]:
    """Find and load the checkpoint ``"best"`` or ``"last"``; None is the best, or the last if there is no best.

    Raises:
        RunError: it does not exist or cannot be read.
    """
    candidates = (directory / "checkpoints" / file for file in reversed(CHECKPOINT_NAMES))
    saved = [path for path in candidates if path.is_file()]
    path = next((path for path in saved if name in (None, path.stem)), None)
    if path is None:
        missing = directory / "checkpoints" / f"{name or 'best'}.ckpt"
        hint = f"; choose --checkpoint {saved[0].stem}" if saved else "; the run has saved no checkpoint"
        raise RunError(f"{missing} does not exist{hint}")
    try:
        return path, load_checkpoint(path)
    except CorruptCheckpointError as error:
        hint = next((f"; choose --checkpoint {other.stem}" for other in saved if other != path), "")
        raise CorruptCheckpointError(f"{error}{hint}") from error


def recorded_accelerator(directory: Path, config: Config) -> str:
    """The accelerator that a run with this configuration was trained on, as a value of ``trainer.accelerator``."""
    accelerator = str(config["trainer"].get("accelerator", "auto"))
    environment = load_environment(directory)
    # `auto` is resolved from the recorded GPUs; a Mac's GPU is not recorded.
    if accelerator != "auto" or "macOS" in environment.get("platform", "macOS"):
        return accelerator
    return "gpu" if environment.get("gpus") else "cpu"


def recorded_threads(directory: Path) -> int | None:
    """The number of torch threads of a run, limited to the cores of this machine; None if not recorded."""
    threads = load_environment(directory).get("torch_threads")
    return None if threads is None else max(1, min(threads, os.cpu_count() or 1))


@contextmanager
def use_recorded_threads(directory: Path) -> Iterator[None]:
    """Set torch's number of threads to a run's, if recorded: it determines the order in which sums are added."""
    before = torch.get_num_threads()
    if (threads := recorded_threads(directory)) is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
