"""What is wrong with the jobs of a sweep, told before the first runs."""

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
    """That of a job that can be run."""
    return compose_resolved("model=mlp", "data=garments", "trainer=cpu")


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with another value for a key such as ``optimizer.lr``."""
    copied = copy.deepcopy(config)
    *outer, last = key.split(".")
    node = copied
    for name in outer:
        node = node[name]
    node[last] = value
    return copied


def test_jobs_that_can_be_run_have_no_problems(config: dict[str, Any]) -> None:
    assert find_problems([("seed=0", config), ("seed=1", changed(config, "seed", 1))]) == []
    assert find_problems([]) == []


def test_every_problem_of_every_job_is_told_with_the_job(config: dict[str, Any]) -> None:
    twice = changed(changed(config, "optimizer.lr", -1), "model.num_hiddens", "many")
    lines = find_problems([("fine", config), ("a", twice), ("b", changed(config, "optimizer.lr", -2))])
    assert len(lines) == 3
    assert sorted(line.partition(":")[0] for line in lines) == [
        "model.num_hiddens=many",
        "optimizer.lr=-1",
        "optimizer.lr=-2",
    ]
    assert sorted(line.rpartition(" (in ")[2] for line in lines) == ["a)", "a)", "b)"]


def test_a_problem_that_jobs_share_is_told_once(config: dict[str, Any]) -> None:
    wrong = changed(config, "optimizer.lr", -1)
    (line,) = find_problems(
        [("fine", config), *((f"seed={seed}", changed(wrong, "seed", seed)) for seed in range(9))]
    )
    assert line.startswith("optimizer.lr=-1: must be ")
    assert line.endswith(" (in seed=0 and 8 more)")


def test_jobs_are_checked_in_another_process(config: dict[str, Any]) -> None:
    validate_jobs([("seed=0", config)])
    wrong = changed(config, "optimizer.lr", -1)
    with pytest.raises(ConfigError) as caught:
        validate_jobs([("fine", config), ("a", wrong), ("b", changed(wrong, "model.num_hiddens", "many"))])
    assert str(caught.value).splitlines() == find_problems(
        [("a", wrong), ("b", changed(wrong, "model.num_hiddens", "many"))]
    )


def test_jobs_whose_check_broke_down_are_not_run(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "run", lambda *_, **__: iter([(0, ProcessResult(error="killed by SIGKILL"))]))
    with pytest.raises(ConfigError, match="killed by SIGKILL"):
        validate_jobs([("seed=0", config)])


def test_where_nothing_is_to_be_run_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "run", lambda *_, **__: pytest.fail("no process is needed"))
    validate_jobs([])


def test_jobs_are_named_by_the_first_and_how_many_more() -> None:
    assert group_names(["a"]) == "a"
    assert group_names(["a", "b"]) == "a and 1 more"
