"""Means over an epoch, gathered on the device, and which way each metric is better."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

LOWER_IS_BETTER = ("loss", "mse", "mae", "rmse", "error", "perplexity")
HIGHER_IS_BETTER = ("acc", "accuracy", "auroc", "f1", "precision", "r2", "recall")


def direction(metric: str) -> str:
    """Whether a metric should fall or rise, told by the last part of its name.

    Args:
        metric: a name such as ``val/loss`` or ``val/acc``.

    Returns:
        ``"min"`` or ``"max"``.

    Raises:
        ValueError: the name ends in none of the known ones.

    >>> direction("val/loss"), direction("val/acc")
    ('min', 'max')
    """
    kind = metric.rsplit("/", 1)[-1]
    if kind in LOWER_IS_BETTER:
        return "min"
    if kind in HIGHER_IS_BETTER:
        return "max"
    known = ", ".join(LOWER_IS_BETTER + HIGHER_IS_BETTER)
    raise ValueError(f"cannot tell whether {metric!r} should fall or rise; its name must end in one of {known}")


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
