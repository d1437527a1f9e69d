"""Independent random number generators, one for each purpose."""

import numpy as np
import torch


def named_generator(purpose: str, *numbers: int) -> torch.Generator:
    """A generator that is seeded by a purpose and numbers, and independent of the generators of other purposes.

    ``torch.Generator().manual_seed(seed)`` in two places would draw the same numbers twice: initial weights that
    resemble the first examples, for instance.

    Args:
        purpose: what is drawn.
        numbers: seed, epoch, ..., each at least 0.

    >>> one, same, other = (torch.rand(1, generator=named_generator("order", 0, epoch)) for epoch in (1, 1, 2))
    >>> bool(one == same), bool(one == other)
    (True, False)
    """
    state = np.random.SeedSequence([*purpose.encode(), *numbers]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
