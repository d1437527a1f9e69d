"""Configuration keys that had another name in earlier versions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dive.errors import ConfigError

RENAMED_KEYS = {
    "optimize": "monitor",
    "hydra.launcher.over": "hydra.launcher.delegate",
    "hydra.launcher.workers": "hydra.launcher.max_workers",
    "callbacks.charts": "callbacks.custom_scalars",
    "callbacks.first_layer": "callbacks.first_layer_weights",
    "callbacks.learning_rate": "callbacks.learning_rate_monitor",
    "callbacks.mistakes": "callbacks.top_losses",
    "callbacks.nan_guard": "callbacks.terminate_on_non_finite",
    "callbacks.norms": "callbacks.grad_norm_monitor",
    "callbacks.progress": "callbacks.progress_bar",
    "callbacks.run_record": "callbacks.run_metadata",
    "callbacks.samples": "callbacks.sample_predictions",
    "callbacks.throughput": "callbacks.throughput_monitor",
}


def validate_override_keys(overrides: Sequence[str]) -> None:
    """Raise a ConfigError for an override of a key that has been renamed.

    >>> validate_override_keys(["monitor=val/acc", "callbacks.top_losses=null"])
    """
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        for old, new in RENAMED_KEYS.items():
            if key == old or key.startswith(f"{old}."):
                renamed = new + key.removeprefix(old)
                raise ConfigError(f"{key}={value}: the key was renamed; use {renamed}={value}")


def find_renamed_keys(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key of a recorded configuration that has been renamed since."""
    for old, new in RENAMED_KEYS.items():
        *parents, key = old.split(".")
        node: Any = config
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping) and key in node:
            yield f"{old}: the key was renamed to {new}"
