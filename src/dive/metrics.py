"""Means over an epoch, gathered on the device."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class EpochMeans:
    """Means over the examples of an epoch.

    Sums are kept as they come, one small tensor a step, and added up once: nothing waits for the device meanwhile.

    >>> means = EpochMeans()
    >>> means.update({"acc": torch.tensor(3)}, num_examples=4)
    >>> means.update({"acc": torch.tensor(1)}, num_examples=1)
    >>> means.compute()
    {'acc': tensor(0.8000)}

    Attributes:
        num_examples: how many have been added since the last `compute`.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget the epoch so far."""
        self._sums: dict[str, list[Tensor]] = {}
        self.num_examples = 0

    def update(self, sums: Mapping[str, Tensor], num_examples: int) -> None:
        """Add one batch: the sum of each metric over its examples (scalars, detached), and how many they are."""
        for name, value in sums.items():
            self._sums.setdefault(name, []).append(value)
        self.num_examples += num_examples

    def total(self, name: str) -> Tensor:
        """The sum so far of one metric, in this process."""
        return torch.stack(self._sums[name]).sum().float()

    def state_dict(self) -> dict[str, Any]:
        """What has been gathered so far; each metric as one tensor, a value a step."""
        sums = {name: torch.stack(values) for name, values in self._sums.items()}
        return {"sums": sums, "num_examples": self.num_examples}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; adding up gives the same bits, since it is done once, over all steps."""
        self._sums = {name: list(values.unbind()) for name, values in state["sums"].items()}
        self.num_examples = state["num_examples"]

    def compute(self, reduce: Callable[[Tensor], Tensor] = lambda total: total) -> dict[str, Tensor]:
        """The means so far, and an empty start for the next epoch.

        Args:
            reduce: adds a tensor up over all processes.
        """
        if not self._sums:
            return {}
        totals = [self.total(name) for name in self._sums]
        count = torch.full_like(totals[0], self.num_examples)
        *totals, count = reduce(torch.stack([*totals, count])).unbind()
        means = {name: total / count for name, total in zip(self._sums, totals, strict=True)}
        self.reset()
        return means
