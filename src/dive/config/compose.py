"""Compose configurations without a command line: for tests, benchmarks and notebooks."""

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
from dive.config.validation import validate_run_config
from dive.errors import ConfigError, format_error
from dive.runs.record import Config


def resolve_config(config: DictConfig) -> Config:
    """Convert a configuration to plain containers, with interpolations resolved, and validate it.

    Raises:
        ConfigError: the configuration is invalid; the message has one line per mistake.
    """
    resolved = cast(Config, OmegaConf.to_container(config, resolve=True))
    validate_run_config(resolved)
    requested_tuner(resolved)
    return resolved


def compose_resolved(*overrides: str) -> Config:
    """Compose, resolve and validate the configuration of ``python train.py`` with these overrides.

    >>> compose_resolved("model=mlp", "optimizer.lr=0.3")["optimizer"]["lr"]
    0.3
    """
    return resolve_config(compose_config(overrides))


def compose_config(
    overrides: Sequence[str], folder: Path = CONFIG_DIR, name: str = "train", **kwargs: Any
) -> DictConfig:
    """Compose the primary config `name` of a folder with `hydra.compose`, without resolving interpolations."""
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, overrides=list(overrides), **kwargs)


def compose_job(overrides: Sequence[str]) -> tuple[Config, Path]:
    """Compose the configuration and the run directory of ``python train.py`` with these overrides.

    With ``resume=RUN_DIR``, they are those of the resumed run.

    Raises:
        ConfigError: the overrides cannot be composed, or the configuration is invalid.
    """
    try:
        with resume_overrides(overrides) as recorded:
            if recorded is None:
                validate_override_keys(overrides)
                validate_group_choices(overrides)
                config = compose_config(overrides, return_hydra_config=True)
            else:
                folder, overrides = recorded
                config = compose_config(overrides, folder, "config", return_hydra_config=True)
        directory = _run_directory(config)
        with open_dict(config):
            del config["hydra"]
        return resolve_config(config), directory
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(format_error(error)) from error


def _run_directory(config: DictConfig) -> Path:
    hydra = HydraConfig.instance()  # the singleton that the resolver of ${hydra:...} reads
    previous = hydra.cfg
    try:
        hydra.set_config(config)
        return Path(HydraConfig.get().run.dir).absolute()
    finally:
        hydra.cfg = previous
