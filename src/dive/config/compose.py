"""Configurations without a command line: for tests, benchmarks and notebooks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from dive.cli import format_error
from dive.config.groups import CONFIG_DIR, validate_group_choices
from dive.config.resume_override import resume_overrides
from dive.errors import ConfigError
from dive.training import instantiate


def compose_resolved(*overrides: str) -> instantiate.Config:
    """What ``python train.py`` would run with these overrides, resolved and checked.

    >>> compose_resolved("model=mlp", "optimizer.lr=0.3")["optimizer"]["lr"]
    0.3
    """
    return instantiate.resolve_config(compose_config(overrides))


def compose_config(
    overrides: Sequence[str], folder: Path = CONFIG_DIR, name: str = "train", **more: Any
) -> DictConfig:
    """The composed configuration, interpolations not yet resolved.

    Args:
        overrides: as on the command line, ``model=mlp``.
        folder: of configurations.
        name: of the one in it that composes the others.
        **more: arguments of `hydra.compose`.
    """
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, overrides=list(overrides), **more)


def compose_job(overrides: Sequence[str]) -> tuple[instantiate.Config, Path]:
    """What ``python train.py`` would run with these overrides, and in which directory.

    Args:
        overrides: as on the command line, ``model=mlp``; with ``resume=RUN_DIR``, the run to go on with.

    Raises:
        ConfigError: they cannot be composed, or run.
    """
    try:
        if (recorded := resume_overrides(overrides)) is None:
            validate_group_choices(overrides)
            config = compose_config(overrides, return_hydra_config=True)
        else:
            path, words = recorded
            config = compose_config(words, path, "config", return_hydra_config=True)
        directory = _run_directory(config)
        with open_dict(config):
            del config["hydra"]
        return instantiate.resolve_config(config), directory
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(format_error(error)) from error


def _run_directory(config: DictConfig) -> Path:
    known = HydraConfig.instance()  # the resolver of ${hydra:...} looks here
    before = known.cfg
    try:
        known.set_config(config)
        return Path(HydraConfig.get().run.dir).absolute()
    finally:
        known.cfg = before
