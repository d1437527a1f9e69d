"""Independent streams of random numbers, each named by its purpose."""

import numpy as np
import torch


def named_generator(purpose: str, *numbers: int) -> torch.Generator:
    """A generator whose numbers depend on purpose and numbers alone, and are unrelated to those of any other.

    ``torch.Generator().manual_seed(seed)`` in two places would draw the same numbers twice: initial weights, say,
    that resemble the first example.

    Args:
        purpose: what is drawn.
        numbers: seed, epoch and the like, at least 0.

    >>> one, same, other = (torch.rand(1, generator=stream("order", 0, epoch)) for epoch in (1, 1, 2))
    >>> bool(one == same), bool(one == other)
    (True, False)
    """
    state = np.random.SeedSequence([*purpose.encode(), *numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
