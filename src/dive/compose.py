"""Configurations without a command line: for tests, benchmarks and notebooks."""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dive import build

CONF = Path(__file__).parents[2] / "conf"


def settings(*overrides: str) -> build.Config:
    """What ``python train.py`` would run with these overrides, resolved and checked.

    >>> settings("model=mlp", "optimizer.lr=0.3")["optimizer"]["lr"]
    0.3
    """
    return build.resolve(compose_config(overrides))


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """The composed configuration, interpolations not yet resolved.

    Args:
        overrides: as on the command line, ``model=mlp``.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))
