"""Configuration keys that were renamed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dive.errors import ConfigError
from dive.runs.record import flatten

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
    """Raise a ConfigError for an override of a renamed key.

    >>> validate_override_keys(["monitor=val/acc", "callbacks.top_losses=null"])
    """
    for override in overrides:
        name = override.lstrip("+~")
        prefix = override.removesuffix(name)
        key, equals, value = name.partition("=")
        for old, new in RENAMED_KEYS.items():
            if f"{key}.".startswith(f"{old}."):
                new_key = new + key.removeprefix(old)
                raise ConfigError(f"{override}: the key was renamed; use {prefix}{new_key}{equals}{value}")


def find_renamed_keys(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each renamed key in a recorded configuration."""
    keys = [f"{key}." for key, _ in flatten(config)]
    for old, new in RENAMED_KEYS.items():
        if any(key.startswith(f"{old}.") for key in keys):
            yield f"{old}: the key was renamed to {new}"
