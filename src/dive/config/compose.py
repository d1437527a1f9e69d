"""Configurations without a command line: for tests, benchmarks and notebooks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dive.config.groups import CONFIG_DIR, validate_group_choices
from dive.config.renamed_keys import validate_override_keys
from dive.config.resume_override import resume_overrides
from dive.config.tuner_request import requested_tuner
from dive.config.validation import validate_config
from dive.errors import ConfigError, format_error
from dive.runs.record import Config


def resolve_config(config: DictConfig) -> Config:
    """The configuration as plain containers, interpolations resolved, and checked.

    Raises:
        ConfigError: it cannot be run; the message has a line for each mistake.
    """
    plain = cast(Config, OmegaConf.to_container(config, resolve=True))
    validate_config(plain)
    requested_tuner(plain)
    return plain


def compose_resolved(*overrides: str) -> Config:
    """What ``python train.py`` would run with these overrides, resolved and checked.

    >>> compose_resolved("model=mlp", "optimizer.lr=0.3")["optimizer"]["lr"]
    0.3
    """
    return resolve_config(compose_config(overrides))


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


def compose_job(overrides: Sequence[str]) -> tuple[Config, Path]:
    """What ``python train.py`` would run with these overrides, and in which directory.

    Args:
        overrides: as on the command line, ``model=mlp``; with ``resume=RUN_DIR``, the run to go on with.

    Raises:
        ConfigError: they cannot be composed, or run.
    """
    try:
        if (recorded := resume_overrides(overrides)) is None:
            validate_override_keys(overrides)
            validate_group_choices(overrides)
            config = compose_config(overrides, return_hydra_config=True)
        else:
            path, words = recorded
            config = compose_config(words, path, "config", return_hydra_config=True)
        directory = _run_directory(config)
        with open_dict(config):
            del config["hydra"]
        return resolve_config(config), directory
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
