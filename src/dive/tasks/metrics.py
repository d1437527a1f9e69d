"""Means over an epoch, gathered on the device."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

MAX_BUFFERED = 2**18  # numbers in outputs that may wait to be measured: 1 MB


class MeanMetrics:
    """Means over the examples of an epoch, of the loss and of what else is measured.

    A step only hands over what it has: outputs are measured many batches at a time, and all is added up once, at
    the end. Nothing waits for the device meanwhile, and the sums do not depend on what was measured when.

    Args:
        measure: values of each metric, one an example, by name, from ``outputs: (batch, ...)`` and targets.

    Raises:
        ValueError: (when it measures) there are more or fewer of them.

    >>> means = MeanMetrics(lambda outputs, targets: {"acc": outputs.argmax(1) == targets})
    >>> means.update(torch.tensor(0.5), torch.eye(2), torch.tensor([0, 1]))
    >>> means.update(torch.tensor(2.0), torch.eye(2)[:1], torch.tensor([1]))
    >>> means.compute()
    {'loss': tensor(1.), 'acc': tensor(0.6667)}
    """

    def __init__(self, measure: Callable[[Tensor, Tensor], Mapping[str, Tensor]]) -> None:
        self.compute_metrics = measure
        self.reset()

    def reset(self) -> None:
        """Forget the epoch so far."""
        self._losses: list[Tensor] = []
        self._sizes: list[int] = []
        self._values: dict[str, list[Tensor]] = {}
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._numbers_waiting = 0

    @property
    def num_examples(self) -> int:
        """How many have been added since the last `compute`."""
        return sum(self._sizes)

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Add one batch.

        Args:
            loss: the mean over the batch; a scalar, detached.
            outputs: of the model, ``(batch, ...)``, detached.
            targets: ``(batch, ...)``.
        """
        self._losses.append(loss)
        self._sizes.append(len(targets))
        self._waiting.append((outputs, targets))
        self._numbers_waiting += outputs.numel()
        if self._numbers_waiting >= MAX_BUFFERED:
            self._measure()

    def _measure(self) -> None:
        if self._waiting:
            outputs, targets = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            for name, values in self.compute_metrics(outputs, targets).items():
                if values.shape != targets.shape[:1]:
                    got = f"got {tuple(values.shape)} for {len(targets)}"
                    raise ValueError(f"measure must return a value of {name!r} for each example, {got}")
                self._values.setdefault(name, []).append(values)
            self._waiting, self._numbers_waiting = [], 0

    def loss_sum(self) -> Tensor:
        """The loss so far, summed over the examples of this process."""
        losses = torch.stack(self._losses)
        return (losses * torch.tensor(self._sizes, device=losses.device)).sum().float()

    def state_dict(self) -> dict[str, Any]:
        """What has been gathered so far: the loss and the examples of each step, the values of each example."""
        self._measure()
        return {
            "losses": torch.stack(self._losses) if self._losses else None,
            "sizes": torch.tensor(self._sizes, dtype=torch.int64),
            "values": {name: torch.cat(values) for name, values in self._values.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there; adding up gives the same bits, since it is done once, over all."""
        self.reset()
        self._losses = [] if state["losses"] is None else list(state["losses"].unbind())
        self._sizes = state["sizes"].tolist()
        self._values = {name: [values] for name, values in state["values"].items()}

    def compute(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """The means so far, and an empty start for the next epoch.

        Args:
            reduce: adds a tensor up over all processes, if there are several.
        """
        if not self._sizes:
            return {}
        self._measure()
        sums = {"loss": self.loss_sum()}
        sums |= {name: torch.cat(values).sum().float() for name, values in self._values.items()}
        totals, count = torch.stack(list(sums.values())), torch.tensor(self.num_examples)
        if reduce is not None:
            *parts, count = reduce(torch.cat([totals, count.to(totals).unsqueeze(0)])).unbind()
            totals = torch.stack(parts)
        self.reset()
        return dict(zip(sums, (totals / count).unbind(), strict=True))
