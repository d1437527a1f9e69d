"""Epoch means of metrics, accumulated on the device."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

MAX_BUFFERED = 2**18  # elements of outputs buffered before metrics are computed: 1 MB


class MeanMetrics:
    """Means of the loss and of further metrics over the examples of an epoch.

    `update` only stores tensors: metrics are computed for many batches at a time and summed once, at the end. No
    step synchronizes with the device, and the sums do not depend on when metrics were computed.

    Args:
        compute_metrics: returns metrics by name, one value per example, for ``outputs: (batch, ...)`` and targets.

    Raises:
        ValueError: (when metrics are computed) `compute_metrics` does not return one value per example.

    >>> means = MeanMetrics(lambda outputs, targets: {"acc": outputs.argmax(1) == targets})
    >>> means.update(torch.tensor(0.5), torch.eye(2), torch.tensor([0, 1]))
    >>> means.update(torch.tensor(2.0), torch.eye(2)[:1], torch.tensor([1]))
    >>> means.compute()
    {'loss': tensor(1.), 'acc': tensor(0.6667)}
    """

    def __init__(self, compute_metrics: Callable[[Tensor, Tensor], Mapping[str, Tensor]]) -> None:
        self.compute_metrics = compute_metrics
        self.reset()

    def reset(self) -> None:
        """Discard everything accumulated so far."""
        self._losses: list[Tensor] = []
        self._sizes: list[int] = []
        self._values: dict[str, list[Tensor]] = {}
        self._buffer: list[tuple[Tensor, Tensor]] = []
        self._num_buffered = 0

    @property
    def num_examples(self) -> int:
        """Number of examples added since the last `compute`."""
        return sum(self._sizes)

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            loss: the mean over the batch; a detached scalar.
            outputs: outputs of the model, ``(batch, ...)``, detached.
            targets: ``(batch, ...)``.
        """
        self._losses.append(loss)
        self._sizes.append(len(targets))
        self._buffer.append((outputs, targets))
        self._num_buffered += outputs.numel()
        if self._num_buffered >= MAX_BUFFERED:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            outputs, targets = (torch.cat(parts) for parts in zip(*self._buffer, strict=True))
            for name, values in self.compute_metrics(outputs, targets).items():
                if values.shape != targets.shape[:1]:
                    got = f"got {tuple(values.shape)} for {len(targets)}"
                    raise ValueError(f"compute_metrics must return one value of {name!r} per example, {got}")
                self._values.setdefault(name, []).append(values)
            self._buffer, self._num_buffered = [], 0

    def loss_sum(self) -> Tensor:
        """The sum of the loss over the examples of this process so far."""
        losses = torch.stack(self._losses)
        return (losses * torch.tensor(self._sizes, device=losses.device)).sum().float()

    def state_dict(self) -> dict[str, Any]:
        """Loss and size of each batch so far, and the metrics of each example."""
        self._flush()
        return {
            "losses": torch.stack(self._losses) if self._losses else None,
            "sizes": torch.tensor(self._sizes, dtype=torch.int64),
            "values": {name: torch.cat(values) for name, values in self._values.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device | str) -> None:
        """Restore the state; the means stay the same bit for bit, since everything is summed at the end.

        Args:
            state: as returned by `state_dict`, on any device: checkpoints are loaded to the CPU.
            device: where the next batches will be.
        """
        self.reset()
        self._losses = [] if state["losses"] is None else list(state["losses"].to(device).unbind())
        self._sizes = state["sizes"].tolist()
        self._values = {name: [values.to(device)] for name, values in state["values"].items()}

    def compute(self, reduce: Callable[[Tensor], Tensor] | None = None) -> dict[str, Tensor]:
        """Return the means so far, empty without examples, and reset.

        Args:
            reduce: sums a tensor over all processes, if there are several.
        """
        if not self._sizes:
            return {}
        self._flush()
        sums = {"loss": self.loss_sum()}
        sums |= {name: torch.cat(values).sum().float() for name, values in self._values.items()}
        totals, count = torch.stack(list(sums.values())), torch.tensor(self.num_examples)
        if reduce is not None:
            *parts, count = reduce(torch.cat([totals, count.to(totals).unsqueeze(0)])).unbind()
            totals = torch.stack(parts)
        self.reset()
        return dict(zip(sums, (totals / count).unbind(), strict=True))
