"""Build a learning-rate schedule from its configuration, which may contain further schedulers."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dive.config.allowlist import resolve_target
from dive.config.signature import accepted_arguments
from dive.config.structure import SCHEDULE_KEYS, SCHEDULE_LENGTHS
from dive.errors import ConfigError
from dive.tasks.metric_mode import metric_mode
from dive.tasks.schedule import Schedule


def instantiate_schedule(config: Mapping[str, Any]) -> Schedule | None:
    """The schedule under the key `scheduler`; None if there is none.

    A mapping with the `_target_` of a scheduler inside of it, as in `schedulers` of `SequentialLR`, is built with
    the same optimizer, before the scheduler that contains it. Null for one of `SCHEDULE_LENGTHS` stands for the
    length of the training.

    Raises:
        ConfigError: the configured class is not a scheduler.
    """
    if (node := config.get("scheduler")) is None:
        return None
    target, monitor = resolve_target(node["_target_"]), node.get("monitor")
    if inspect.isclass(target) and not issubclass(target, LRScheduler):
        raise ConfigError(f"scheduler._target_: {target.__name__} is not a subclass of LRScheduler")
    arguments = {key: value for key, value in node.items() if key not in SCHEDULE_KEYS}
    if target is ReduceLROnPlateau and "mode" not in arguments and monitor is not None:
        arguments["mode"] = metric_mode(monitor, config["mode"] if monitor == config["monitor"] else "auto")

    def make(optimizer: Optimizer, length: float) -> LRScheduler:
        try:
            scheduler: LRScheduler = _build(arguments, optimizer, length)
        except (TypeError, ValueError, InstantiationException) as error:
            raise ConfigError(f"scheduler: {error}") from error
        return scheduler

    return Schedule(make, node.get("interval", "epoch"), monitor, _is_open_ended(arguments))


def _is_open_ended(node: Any) -> bool:
    if isinstance(node, Mapping):
        return any(
            value is None if key in SCHEDULE_LENGTHS else _is_open_ended(value) for key, value in node.items()
        )
    return isinstance(node, list) and any(map(_is_open_ended, node))


def _build(node: Any, optimizer: Optimizer, length: float) -> Any:
    if isinstance(node, list):
        return [_build(item, optimizer, length) for item in node]
    if not isinstance(node, Mapping) or "_target_" not in node:
        return node
    target = resolve_target(node["_target_"])
    if "optimizer" not in accepted_arguments(target)[0]:
        return instantiate(node, _convert_="all")
    arguments = {key: _build(value, optimizer, length) for key, value in node.items() if not key.startswith("_")}
    if open_ended := [key for key in SCHEDULE_LENGTHS if key in arguments and arguments[key] is None]:
        if math.isinf(length):
            raise ConfigError(
                f"scheduler.{open_ended[0]}: set it, or limit trainer.max_epochs or trainer.max_steps"
            )
        arguments |= dict.fromkeys(open_ended, int(length))
    return target(optimizer=optimizer, **arguments)
