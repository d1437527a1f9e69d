"""Random number generators continue from a state that is plain data."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dive.runs.rng_state import get_rng_state, set_rng_state

DRAWS: dict[str, Callable[[], Any]] = {
    "python": random.random,
    "python, normal numbers in pairs": lambda: random.gauss(0, 1),
    "numpy": lambda: np.random.rand(3).tolist(),
    "numpy, normal numbers in pairs": lambda: np.random.randn(1).tolist(),
    "torch": lambda: torch.rand(3).tolist(),
    "torch, many numbers": lambda: torch.randn(100).tolist(),
    "torch, permutation": lambda: torch.randperm(20).tolist(),
}


def advance_generators() -> None:
    """Draw enough numbers for NumPy and Python to regenerate their internal state."""
    random.seed(3)
    np.random.seed(4)
    torch.manual_seed(5)
    for draw in DRAWS.values():
        for _ in range(700):
            draw()


@pytest.fixture(autouse=True)
def advanced_generators() -> None:
    """Start each test in the same state."""
    advance_generators()


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_generator_continues_from_a_restored_state(draw: Callable[[], Any]) -> None:
    state = get_rng_state()
    expected = [draw() for _ in range(5)]
    assert [draw() for _ in range(5)] != expected
    set_rng_state(state)
    assert [draw() for _ in range(5)] == expected


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("draw", [lambda: random.gauss(0, 1), lambda: np.random.randn(1).item()])
def test_second_of_two_normal_numbers_is_preserved(draw: Callable[[], float], odd: bool) -> None:
    random.seed(0)
    np.random.seed(0)
    if odd:
        draw()  # the second number of the pair is returned next, without drawing
    state = get_rng_state()
    assert (random.getstate()[2] is not None or bool(np.random.get_state()[3])) is odd  # type: ignore[index]
    expected = [draw() for _ in range(4)]
    if not odd:
        draw()  # a stored second number, which must be discarded
    set_rng_state(state)
    assert [draw() for _ in range(4)] == expected


def test_state_round_trips_through_a_file_as_plain_data(tmp_path: Path) -> None:
    random.gauss(0, 1)
    np.random.randn(1)
    torch.save(get_rng_state(), tmp_path / "state")
    expected = [draw() for draw in DRAWS.values()]
    set_rng_state(torch.load(tmp_path / "state", weights_only=True))
    assert [draw() for draw in DRAWS.values()] == expected


def test_state_can_be_restored_repeatedly() -> None:
    state = get_rng_state()
    seen = []
    for _ in range(2):
        set_rng_state(state)
        seen.append([draw() for draw in DRAWS.values()])
    assert seen[0] == seen[1]


def test_getting_the_state_draws_no_numbers() -> None:
    get_rng_state()
    first = [draw() for draw in DRAWS.values()]
    state = get_rng_state()
    set_rng_state(state)
    after = [draw() for draw in DRAWS.values()]
    advance_generators()
    assert [draw() for draw in DRAWS.values()] == first
    assert [draw() for draw in DRAWS.values()] == after


def test_no_cuda_states_without_used_devices() -> None:
    if torch.cuda.is_initialized():
        pytest.skip("another test of this process has used CUDA")
    assert get_rng_state()["cuda"] == []


def test_states_of_missing_devices_are_skipped() -> None:
    missing = torch.cuda.device_count()
    states = [torch.cuda.get_rng_state(device) for device in range(missing)]
    set_rng_state(get_rng_state() | {"cuda": [*states, torch.get_rng_state()]})
