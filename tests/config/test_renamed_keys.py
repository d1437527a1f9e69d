"""Renamed keys are rejected with their new name, on the command line and in recorded configurations."""

import pytest

from dive.config.compose import compose_job, compose_resolved
from dive.config.renamed_keys import RENAMED_KEYS, find_renamed_keys, validate_override_keys
from dive.config.validation import validate_config
from dive.errors import ConfigError


@pytest.mark.parametrize(("old", "new"), RENAMED_KEYS.items())
@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_renamed_key_is_rejected_with_its_new_name(prefix: str, old: str, new: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_override_keys(["model=mlp", f"{prefix}{old}=x"])
    assert str(caught.value) == f"{prefix}{old}=x: the key was renamed; use {prefix}{new}=x"


def test_renamed_key_is_rejected_if_it_is_deleted() -> None:
    with pytest.raises(ConfigError, match=r"^~callbacks\.norms: .*; use ~callbacks\.grad_norm_monitor$"):
        validate_override_keys(["~callbacks.norms"])


def test_key_below_a_renamed_key_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"use callbacks\.grad_norm_monitor\.every_n_steps=5$"):
        validate_override_keys(["callbacks.norms.every_n_steps=5"])


@pytest.mark.parametrize(
    "override", ["monitor=val/acc", "optimizer=sgd", "callbacks.progress_bar=null", "seed=0,1"]
)
def test_other_keys_are_accepted(override: str) -> None:
    validate_override_keys([override])


def test_composing_with_a_renamed_key_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"^optimize=val/loss: the key was renamed; use monitor=val/loss$"):
        compose_job(["optimize=val/loss"])


def test_renamed_keys_of_a_recorded_configuration_are_found() -> None:
    recorded = {"optimize": "val/acc", "callbacks": {"norms": {"every_n_steps": 5, "log": True}, "samples": None}}
    assert list(find_renamed_keys(recorded)) == [
        "optimize: the key was renamed to monitor",
        "callbacks.norms: the key was renamed to callbacks.grad_norm_monitor",
        "callbacks.samples: the key was renamed to callbacks.sample_predictions",
    ]
    with pytest.raises(ConfigError, match=r"^optimize: the key was renamed to monitor$"):
        validate_config({"optimize": "val/acc"})


def test_current_configuration_has_no_renamed_keys() -> None:
    assert list(find_renamed_keys(compose_resolved())) == []
