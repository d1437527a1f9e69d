"""A run's own record, taken for what it is: a file that anybody may have written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dive.config import compose
from dive.config.allowlist import resolve_target
from dive.config.resume_override import not_a_run_error
from dive.config.tuner_request import TUNED_KEYS
from dive.config.validation import validate_config
from dive.errors import ConfigError, RunError
from dive.runs.checkpoint_io import Checkpoint, CorruptCheckpointError, load_checkpoint
from dive.runs.record import Config, diff_configs, load_config, load_environment
from dive.runs.resume import CHANGEABLE_ON_RESUME
from dive.runs.run import CHECKPOINT_NAMES

# What every run has recorded, and of that what is built.
RECORDED = ("seed", "monitor", "mode", "callbacks", "logger")
BUILT = ("trainer", "data", "model", "task", "optimizer")
SOURCES = ("root", "path")  # keys of data that name where they are read from
HYDRAS = ("hydra", "defaults")  # keys on which Hydra would act


def validated_config(directory: Path, without: Sequence[str] = ()) -> Config:
    """What a run's ``config.yaml`` holds, if that can be built, but for loggers that would tell others of it.

    Args:
        directory: of the run.
        without: groups of it that are not to be built; they are empty in what is returned.

    Raises:
        RunError: there is no run, or the file is not the record of one.
        ConfigError: it names what may not be built; the message has a line for each mistake.
    """
    file = directory / "config.yaml"
    if not file.is_file():
        raise RunError(f"{directory}: {not_a_run_error(directory)}")
    try:
        config = load_config(directory)
    except (OSError, ValueError) as error:
        raise RunError(f"{file} cannot be read: {error}") from error
    if config is None:
        raise RunError(f"{file} is damaged")
    targets = [key for key in BUILT if isinstance(config.get(key), dict) and "_target_" in config[key]]
    if missing := [key for key in (*RECORDED, *BUILT) if key not in (*config.keys() - BUILT, *targets)]:
        raise RunError(f"{file} is not the record of a run: it has no {', '.join(missing)}")
    if strange := [key for key in HYDRAS if key in config]:
        raise RunError(f"{file} is not the record of a run: it has {', '.join(strange)}")
    config = localize_paths(config) | {group: {} for group in without}
    validate_config(config)
    if search := next((name for name in TUNED_KEYS if config.get(name)), None):
        raise RunError(f"{directory}: is a search ({search}=true), and has trained nothing")
    return config


def localize_paths(config: Config) -> Config:
    """A configuration without the loggers that want a package of their own: they tell others of the run."""
    loggers = config.get("logger")
    if not isinstance(loggers, dict):
        return config
    return config | {"logger": {name: node for name, node in loggers.items() if not _tells_others(node)}}


def _tells_others(logger: Any) -> bool:
    try:
        return isinstance(logger, dict) and hasattr(resolve_target(logger.get("_target_")), "requires")
    except ConfigError:
        return False  # the check says what is wrong with it


def was_edited(directory: Path, config: Config) -> list[str]:
    """What somebody has changed in a run's ``config.yaml`` since: one line a key, by what its checkpoints say.

    Args:
        directory: of the run.
        config: what the file holds now.

    Raises:
        RunError: the checkpoint cannot be read.
    """
    path = next((path for name in CHECKPOINT_NAMES if (path := directory / "checkpoints" / name).is_file()), None)
    began = load_checkpoint(path).get("config") if path else None
    if path is None or began is None:
        return []
    # The best epoch may have been before the run went on with other settings.
    free = tuple(f"{key}." for key in CHANGEABLE_ON_RESUME) if path.name != CHECKPOINT_NAMES[0] else ()
    return [line for line in diff_configs(began, config) if not line.startswith(free)]


def replace_data(config: Config, name: str) -> Config:
    """A configuration with another set of ``conf/data``, its images of the size that the model is made for.

    Raises:
        ConfigError: there is no such set.
    """
    other: Config = compose.compose_job([f"data={name}", f"seed={config['seed']}"])[0]["data"]
    resize = {"resize": config["data"]["resize"]} if "resize" in other and "resize" in config["data"] else {}
    return config | {"data": other | resize}


def relocate_data(config: Config, place: Path | None) -> Config:
    """A configuration whose data are read from another folder, or file.

    Args:
        config: of a run.
        place: where they are by now; None is where they were.

    Raises:
        RunError: they are not read from anywhere.
    """
    if place is None:
        return config
    key = next((key for key in SOURCES if key in config["data"]), None)
    if key is None:
        raise RunError(f"--data-at {place}: these data are not read from anywhere; leave it out")
    return config | {"data": config["data"] | {key: str(place.absolute())}}


def resolve_checkpoint(directory: Path, name: str | None) -> tuple[Path, Checkpoint]:
    """The checkpoint of that name, ``"best"`` or ``"last"``; for None the best, or the last where no best is kept.

    Raises:
        RunError: it is not there, or cannot be read.
    """
    kept = [
        path
        for path in (directory / "checkpoints" / name for name in reversed(CHECKPOINT_NAMES))
        if path.is_file()
    ]
    found = next((path for path in kept if name in (None, path.stem)), None)
    if found is None:
        missing = directory / "checkpoints" / f"{name or 'best'}.ckpt"
        others = f"; choose --checkpoint {kept[0].stem}" if kept else ", nor does another: nothing was saved"
        raise RunError(f"{missing} does not exist{others}")
    try:
        return found, load_checkpoint(found)
    except CorruptCheckpointError as error:
        other = next((f"; choose --checkpoint {path.stem}" for path in kept if path != found), "")
        raise CorruptCheckpointError(f"{error}{other}") from error


def recorded_accelerator(directory: Path, config: Config) -> str:
    """What a run was on, as ``trainer.accelerator`` takes it.

    Args:
        directory: of the run.
        config: that it has recorded.
    """
    # `auto` was what the machine of the run had: with a GPU, that; a Mac's own is not recorded.
    recorded = str(config["trainer"].get("accelerator", "auto"))
    environment = load_environment(directory)
    if recorded != "auto" or "macOS" in environment.get("platform", "macOS"):
        return recorded
    return "gpu" if environment.get("gpus") else "cpu"


@contextmanager
def use_recorded_threads(directory: Path) -> Iterator[None]:
    """As many threads of torch as a run had: with others, sums are added up in another order.

    Args:
        directory: of the run; where it has not recorded them, there are as many as before.
    """
    before, recorded = torch.get_num_threads(), load_environment(directory).get("torch_threads")
    if type(recorded) is int and recorded > 0:
        torch.set_num_threads(recorded)
    try:
        yield
    finally:
        torch.set_num_threads(before)
