"""Validation of the jobs of a sweep before the first one starts."""

import copy
from typing import Any

import pytest

from dive.config.compose import compose_resolved
from dive.errors import ConfigError
from dive.sweeps import preflight
from dive.sweeps.launchers.process_pool import ProcessResult
from dive.sweeps.preflight import find_problems, group_names, validate_jobs


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """The configuration of a valid job."""
    return compose_resolved("model=mlp", "data=garments", "trainer=cpu")


def replace_key(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with another value for a key such as ``optimizer.lr``."""
    copied = copy.deepcopy(config)
    *outer, last = key.split(".")
    node = copied
    for name in outer:
        node = node[name]
    node[last] = value
    return copied


def test_valid_jobs_have_no_problems(config: dict[str, Any]) -> None:
    assert find_problems([("seed=0", config), ("seed=1", replace_key(config, "seed", 1))]) == []
    assert find_problems([]) == []


def test_every_problem_is_listed_with_its_job(config: dict[str, Any]) -> None:
    invalid = replace_key(replace_key(config, "optimizer.lr", -1), "model.num_hiddens", "many")
    lines = find_problems([("valid", config), ("a", invalid), ("b", replace_key(config, "optimizer.lr", -2))])
    assert len(lines) == 3
    assert sorted(line.partition(":")[0] for line in lines) == [
        "model.num_hiddens=many",
        "optimizer.lr=-1",
        "optimizer.lr=-2",
    ]
    assert sorted(line.rpartition(" (in ")[2] for line in lines) == ["a)", "a)", "b)"]


def test_shared_problem_is_listed_once(config: dict[str, Any]) -> None:
    wrong = replace_key(config, "optimizer.lr", -1)
    (line,) = find_problems(
        [("valid", config), *((f"seed={seed}", replace_key(wrong, "seed", seed)) for seed in range(9))]
    )
    assert line.startswith("optimizer.lr=-1: must be ")
    assert line.endswith(" (in seed=0 and 8 more)")


def test_jobs_are_validated_in_a_subprocess(config: dict[str, Any]) -> None:
    validate_jobs([("seed=0", config)])
    wrong = replace_key(config, "optimizer.lr", -1)
    with pytest.raises(ConfigError) as caught:
        validate_jobs([("valid", config), ("a", wrong), ("b", replace_key(wrong, "model.num_hiddens", "many"))])
    assert str(caught.value).splitlines() == find_problems(
        [("a", wrong), ("b", replace_key(wrong, "model.num_hiddens", "many"))]
    )


def test_crash_of_the_validation_is_an_error(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        preflight, "run_jobs", lambda *_, **__: iter([(0, ProcessResult(error="killed by SIGKILL"))])
    )
    with pytest.raises(ConfigError, match="killed by SIGKILL"):
        validate_jobs([("seed=0", config)])


def test_no_jobs_start_no_subprocess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "run_jobs", lambda *_, **__: pytest.fail("started a subprocess"))
    validate_jobs([])


def test_group_names() -> None:
    assert group_names(["a"]) == "a"
    assert group_names(["a", "b"]) == "a and 1 more"
