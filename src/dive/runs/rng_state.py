"""The states of all random number generators, as plain containers and tensors."""

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def get_rng_state() -> State:
    """The states of the generators of Python, NumPy, torch and every CUDA device.

    >>> state = get_rng_state()
    >>> first = random.random(), np.random.rand(), torch.rand(1)
    >>> set_rng_state(state)
    >>> first == (random.random(), np.random.rand(), torch.rand(1))
    True
    """
    version, words, gauss_next = random.getstate()
    _, keys, *rest = np.random.get_state(legacy=True)
    return {
        # Hundreds of numbers each: tensors halve the time to save the checkpoint of a small model.
        "python": [version, torch.tensor(words), gauss_next],
        "numpy": [torch.tensor(np.asarray(keys, dtype=np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_rng_state(state: State) -> None:
    """Restore a state returned by `get_rng_state`.

    CUDA devices that no longer exist, or that the state does not include, are skipped.
    """
    version, words, gauss_next = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss_next))
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    for device, device_state in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(device_state.cpu(), device)
