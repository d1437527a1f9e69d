"""Recorded configurations and results, and the differences of two configurations."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from omegaconf import OmegaConf

from dive.runs.lock import LOCK_FILE
from dive.runs.plain_yaml import dump_plain
from dive.runs.record import (
    comparable_config,
    diff_configs,
    fingerprint,
    flatten,
    load_config,
    load_result,
    load_result_or_partial,
)

CONFIG = {"seed": 0, "optimizer": {"lr": 0.1, "betas": [0.9, 0.999]}, "model": {"name": "a"}}


def test_keys_of_how_a_run_was_started_are_not_compared() -> None:
    same = [CONFIG, CONFIG | {"resume": "outputs/x"}, CONFIG | {"sweep": "lr", "resume": None}]
    assert len({fingerprint(config) for config in same}) == 1
    assert all(comparable_config(config) == CONFIG for config in same)
    assert diff_configs(same[0], same[1]) == []


def test_nested_key_named_resume_is_compared() -> None:
    assert fingerprint(CONFIG | {"trainer": {"resume": 1}}) != fingerprint(CONFIG | {"trainer": {"resume": 2}})


def test_order_of_keys_does_not_matter() -> None:
    reordered = {"model": CONFIG["model"], "optimizer": {"betas": [0.9, 0.999], "lr": 0.1}, "seed": 0}
    assert list(reordered) != list(CONFIG)
    assert fingerprint(reordered) == fingerprint(CONFIG)


def test_different_configurations_have_different_fingerprints() -> None:
    configs: list[dict[str, Any]] = [
        CONFIG,
        CONFIG | {"seed": 1},
        CONFIG | {"seed": "0"},
        CONFIG | {"seed": None},
        CONFIG | {"seed": False},
        CONFIG | {"extra": None},
        CONFIG | {"optimizer": {"lr": 0.1, "betas": [0.999, 0.9]}},
        CONFIG | {"optimizer": {"lr": 0.10000001, "betas": [0.9, 0.999]}},
        CONFIG | {"optimizer.lr": 0.1},
        {},
    ]
    for one, other in itertools.combinations(configs, 2):
        assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize(
    "value",
    [
        *(1, 0, -1, 1.0, 0.1, 1e-5, 1e30, 1e16, -0.0, math.inf, -math.inf, math.nan, True, None),
        *("", " ", "1", "1e-3", "1.0", "yes", "on", "null", "~", "2024-01-01", "0x10", "1_000", "=", "ä", "日本"),
        *("a: b", "a\nb\n", "  a", "#a", "???", "${seed}", "%s", "'", '"', "\t"),
        *([], {}, [1, [2.5, "3"], {"a": None}], {"a": {"b": {}}}),
    ],
    ids=repr,
)
def test_recorded_configuration_round_trips(value: Any, tmp_path: Path) -> None:
    config = CONFIG | {"value": value}
    (tmp_path / "config.yaml").write_text(dump_plain(config))
    loaded = load_config(tmp_path)
    assert loaded is not None
    assert fingerprint(loaded) == fingerprint(config)
    assert fingerprint(OmegaConf.to_container(OmegaConf.load(tmp_path / "config.yaml"))) == fingerprint(config)


@pytest.mark.parametrize("text", [None, "", "a: [1", "- 1\n- 2\n", "just text", "a: !!python/name:os.system"])
def test_invalid_configuration_is_not_loaded(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    assert load_config(tmp_path) is None


def test_result_is_loaded(tmp_path: Path) -> None:
    result = {"status": "finished", "monitor": "val/loss", "score": 0.5, "metrics": {"best": {"val/loss": 0.5}}}
    (tmp_path / "result.json").write_text(json.dumps(result | {"unknown": 1}))
    assert load_result(tmp_path) == result


def test_started_run_without_a_result_is_running(tmp_path: Path) -> None:
    assert load_result(tmp_path) == {"status": "not started"}
    (tmp_path / "config.yaml").touch()
    assert load_result(tmp_path) == {"status": "running"}


def test_run_is_running_while_locked_and_interrupted_afterwards(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    assert load_result_or_partial(tmp_path) == {"status": "interrupted"}
    assert not (tmp_path / LOCK_FILE).exists(), "checking the lock creates no file"
    with FileLock(tmp_path / LOCK_FILE):
        assert load_result_or_partial(tmp_path) == {"status": "running"}
    assert load_result_or_partial(tmp_path) == {"status": "interrupted"}
    (tmp_path / "result.json").write_text('{"status": "failed"}')
    assert load_result_or_partial(tmp_path) == {"status": "failed"}
    assert load_result_or_partial(tmp_path / "nowhere") == {"status": "not started"}


def test_missing_directory_has_no_result(tmp_path: Path) -> None:
    assert load_result(tmp_path / "nowhere") == {"status": "not started"}


def test_differences_name_the_key_and_both_values() -> None:
    new = {"seed": 0, "optimizer": {"lr": 0.3, "betas": [0.9, 0.99]}, "model": {"width": 64}}
    assert diff_configs(CONFIG, new) == [
        "optimizer.lr: 0.1 -> 0.3",
        "optimizer.betas: [0.9, 0.999] -> [0.9, 0.99]",
        "model.name: a -> (none)",
        "model.width: (none) -> 64",
    ]
    assert diff_configs(CONFIG, CONFIG) == []


def test_nested_keys_are_joined_and_empty_mappings_preserved() -> None:
    nested = {"a": {"b": {"c": 1}, "d": []}, "e": {}, "f": None}
    assert list(flatten(nested)) == [("a.b.c", 1), ("a.d", []), ("e", {}), ("f", None)]
