"""The content of a checkpoint is checked before it is used."""

from typing import Any

import pytest
import torch

from dive.runs.checkpoint_schema import completed_epochs, find_content_problem
from dive.runs.rng_state import get_rng_state

COUNTS = {"ready": 3, "started": 2, "processed": 2, "completed": 2}
VALID: dict[str, Any] = {
    "state_dict": {"w": torch.zeros(2)},
    "epoch": 1,
    "global_step": 4,
    "pytorch-lightning_version": "2.6.6",
    "loops": {"fit_loop": {"epoch_progress": {"total": COUNTS, "current": COUNTS}, "state_dict": {"x": "any"}}},
    "callbacks": {"A": {"x": 1}},
    "optimizer_states": [{"state": {}, "param_groups": []}],
    "lr_schedulers": [],
    "random": get_rng_state(),
    "means": {"losses": None},
    "data_crc32": {"train": "0a"},
    "config": None,
}


def test_valid_content() -> None:
    assert find_content_problem(VALID) is None
    assert find_content_problem({"state_dict": {}}) is None
    assert completed_epochs(VALID) == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([1], "it is not the checkpoint of a run"),
        ({"epoch": 1}, "it is not the checkpoint of a run"),
        (VALID | {"state_dict": (1, 2)}, "state_dict: tuple is not a dict"),
        (VALID | {"state_dict": {1: 2}}, "state_dict: key 1 of dict is not an instance of str"),
        (VALID | {"global_step": "4"}, "global_step: str is not an instance of int"),
        (VALID | {"optimizer_states": None}, "optimizer_states: None is not a list"),
        (VALID | {"lr_schedulers": [3]}, "lr_schedulers: item 0 of list is not a dict"),
        (VALID | {"callbacks": []}, "callbacks: list is not a dict"),
        (VALID | {"config": 3}, "config: int did not match any element in the union"),
        (VALID | {"random": {}}, "random: dict is missing required key"),
        (
            VALID | {"data_crc32": {"train": 3}},
            "data_crc32: value of key 'train' of dict is not an instance of str",
        ),
        (VALID | {"pytorch-lightning_version": 2.6}, "pytorch-lightning_version: float is not an instance of str"),
        (VALID | {"pytorch-lightning_version": "two"}, "pytorch-lightning_version: Invalid version: 'two'"),
        (VALID | {"loops": {"fit_loop": []}}, "loops: value of key 'fit_loop' of dict is not a dict"),
        (
            VALID | {"loops": {"fit_loop": {"epoch_progress": {"current": {"ready": "x"}}}}},
            "loops.fit_loop.epoch_progress.current.ready: is not a count",
        ),
        (
            VALID | {"loops": {"fit_loop": {"epoch_progress": {"current": {"ready": -1}}}}},
            "loops.fit_loop.epoch_progress.current.ready: is not a count",
        ),
        (
            VALID | {"loops": {"fit_loop": {"epoch_progress": {"current": {"ready": {"x": 1}}}}}},
            "loops.fit_loop.epoch_progress.current.ready: is not a count",
        ),
        (VALID | {"loops": {"fit_loop": {"epoch_progress": []}}}, "loops.fit_loop.epoch_progress: is not a count"),
    ],
)
def test_invalid_content(content: Any, problem: str) -> None:
    assert str(find_content_problem(content)).startswith(problem)
