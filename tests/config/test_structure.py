"""The configuration of a run has all its keys, each with a value of the right kind."""

from typing import Any

import pytest

from dive.config.compose import compose_resolved
from dive.config.structure import find_structure_problems
from dive.config.validation import validate_run_config
from dive.errors import ConfigError


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """A valid configuration."""
    return compose_resolved("model=linear_regression")


def test_a_valid_configuration_has_no_problems(config: dict[str, Any]) -> None:
    assert not list(find_structure_problems(config))
    assert not list(find_structure_problems(config | {"callbacks": None, "logger": None, "scheduler": None}))
    assert not list(find_structure_problems(config | {"callbacks": {"early_stopping": None}}))


NN = {"_target_": "torch.nn.ReLU"}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"optimizer": None}, "optimizer=None: must be a mapping with a _target_; choose one with optimizer=NAME"),
        (
            {"data": {"batch_size": 2}},
            "data={'batch_size': 2}: must be a mapping with a _target_; choose one with",
        ),
        ({"trainer": 3}, "trainer=3: must be a mapping with a _target_; choose one with trainer=NAME"),
        ({"scheduler": {}}, "scheduler={}: must be a mapping with a _target_"),
        ({"optimizer": {"_target_": "torch.optim.SGD"}}, "optimizer._partial_=False: must be true"),
        ({"model": {"_target_": "dive.models.MLP", "_partial_": True}}, "model._partial_=True: must be false"),
        ({"callbacks": ["a"]}, "callbacks=['a']: must be a mapping of names to objects, or null"),
        ({"logger": "csv"}, "logger=csv: must be a mapping of names to objects, or null"),
        ({"callbacks": {"a": 1}}, "callbacks.a=1: must be a mapping with a _target_; or null: callbacks.a=null"),
        ({"callbacks": {"a": NN | {"_partial_": True}}}, "callbacks.a._partial_=True: must be false"),
        ({"seed": None}, "seed=None: must be an integer"),
        ({"seed": True}, "seed=True: must be an integer"),
        ({"monitor": 3}, "monitor=3: must be the name of a metric, such as val/loss"),
        ({"mode": "lower"}, "mode=lower: must be min, max or auto"),
        ({"mode": ["min"]}, "mode=['min']: must be min, max or auto"),
    ],
)
def test_values_of_the_wrong_kind(config: dict[str, Any], changed: dict[str, Any], line: str) -> None:
    problems = list(find_structure_problems(config | changed))
    assert len(problems) == 1
    assert problems[0].startswith(line)


@pytest.mark.parametrize("key", ["seed", "monitor", "mode", "trainer", "data", "model", "task", "optimizer"])
def test_missing_keys(config: dict[str, Any], key: str) -> None:
    (problem,) = find_structure_problems({name: value for name, value in config.items() if name != key})
    assert problem.startswith((f"{key}: is missing; set {key}=...", f"{key}=None: must be a mapping"))


def test_a_mistake_is_reported_once_and_together_with_others(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_run_config(config | {"seed": 1.5, "task": "???", "callbacks": 1, "monitor": None})
    assert sorted(str(caught.value).splitlines()) == [
        "callbacks=1: must be a mapping of names to objects, or null",
        "monitor=None: must be the name of a metric, such as val/loss",
        "seed=1.5: must be an integer of at least 0 and at most 4294967295",
        "task: missing mandatory value; set task=...",
    ]
