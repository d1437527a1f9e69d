"""Hydra's own sweeper, less a check that our launcher makes better. Hydra imports this module at every start."""

from collections.abc import Sequence
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore


@dataclass
class DiveSweeperConf(BasicSweeperConf):
    """Settings of `DiveSweeper`."""

    _target_: str = "hydra_plugins.dive_sweeper.DiveSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="dive", node=DiveSweeperConf, provider="dive")


class DiveSweeper(BasicSweeper):
    """Every combination of the values given."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Nothing: `DiveLauncher` composes and checks all jobs before the first."""
