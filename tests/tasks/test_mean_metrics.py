"""MeanMetrics compared with plain means over the examples."""

import io

import pytest
import torch
from torch import Tensor

from dive.tasks import mean_metrics
from dive.tasks.mean_metrics import MeanMetrics


def compute_metrics(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """A float and a boolean per example."""
    return {"mse": (outputs - targets).square().mean(1), "above": (outputs > targets).any(1)}


@pytest.fixture(params=[1, 50, 2**18], ids=lambda size: f"buffer {size}")
def buffer_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Compute metrics for each batch, for a few batches at a time, or once at the end."""
    monkeypatch.setattr(mean_metrics, "MAX_BUFFERED", request.param)
    return int(request.param)


def batches(count: int, size: int = 4) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Losses, outputs and targets of batches, the last one smaller."""
    generator = torch.Generator().manual_seed(0)
    sizes = [size] * (count - 1) + [size // 2]
    return [(torch.rand((), generator=generator), *torch.rand(2, n, 3, generator=generator)) for n in sizes]


@pytest.mark.usefixtures("buffer_size")
def test_smaller_last_batch_is_weighted_by_its_size() -> None:
    means, seen = MeanMetrics(compute_metrics), batches(20)
    for batch in seen:
        means.update(*batch)
    outputs, targets = (torch.cat([batch[i] for batch in seen]) for i in (1, 2))
    assert means.num_examples == len(outputs) == 78
    computed = means.compute()
    assert list(computed) == ["loss", "mse", "above"]
    assert computed["mse"].item() == pytest.approx((outputs - targets).square().mean().item())
    assert computed["above"].item() == pytest.approx((outputs > targets).any(1).float().mean().item())
    weighted = sum(float(loss) * len(y) for loss, _, y in seen) / 78
    assert computed["loss"].item() == pytest.approx(weighted)


def test_means_do_not_depend_on_the_buffer_size(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []
    for numbers in (1, 50, 2**18):
        monkeypatch.setattr(mean_metrics, "MAX_BUFFERED", numbers)
        means = MeanMetrics(compute_metrics)
        for batch in batches(200, size=32):
            means.update(*batch)
        computed.append(means.compute())
    assert computed[0] == computed[1] == computed[2]


def test_buffer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mean_metrics, "MAX_BUFFERED", 50)
    sizes: list[int] = []

    def record(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        sizes.append(len(outputs))
        return compute_metrics(outputs, targets)

    means = MeanMetrics(record)
    for batch in batches(11):
        means.update(*batch)
    assert sizes == [20, 20]  # 60 elements each
    means.compute()
    assert sizes == [20, 20, 2]


@pytest.mark.parametrize("wrong", [torch.tensor(3.0), torch.zeros(4, 1), torch.zeros(3)])
def test_metrics_without_one_value_per_example_are_rejected(wrong: Tensor) -> None:
    means = MeanMetrics(lambda *_: {"acc": wrong})
    means.update(torch.tensor(1.0), torch.zeros(4, 1), torch.zeros(4, 1))
    with pytest.raises(
        ValueError, match=r"compute_metrics must return one value of 'acc' per example, got \(.*\) for 4"
    ):
        means.compute()


def test_compute_resets() -> None:
    means = MeanMetrics(compute_metrics)
    means.update(torch.tensor(100.0), torch.ones(2, 1), torch.zeros(2, 1))
    means.compute()
    assert means.num_examples == 0
    means.update(torch.tensor(2.0), torch.zeros(3, 1), torch.zeros(3, 1))
    assert {name: value.item() for name, value in means.compute().items()} == {"loss": 2, "mse": 0, "above": 0}


def test_reset_discards_the_epoch_so_far() -> None:
    means = MeanMetrics(compute_metrics)
    means.update(torch.tensor(100.0), torch.ones(2, 1), torch.zeros(2, 1))
    means.reset()
    means.update(torch.tensor(2.0), torch.zeros(3, 1), torch.zeros(3, 1))
    assert {name: value.item() for name, value in means.compute().items()} == {"loss": 2, "mse": 0, "above": 0}


def test_no_means_without_examples() -> None:
    assert MeanMetrics(compute_metrics).compute() == {}


def test_reduced_means_are_over_the_examples_of_all_processes() -> None:
    first, second = MeanMetrics(compute_metrics), MeanMetrics(compute_metrics)
    first.update(torch.tensor(2.0), torch.ones(3, 1), torch.zeros(3, 1))
    second.update(torch.tensor(4.0), torch.zeros(1, 1), torch.zeros(1, 1))
    sent: list[Tensor] = []

    def reduce(total: Tensor) -> Tensor:
        sent.append(total)
        return total

    first.compute(reduce)
    assert len(sent) == 1  # one reduction for all metrics
    reduced = second.compute(lambda total: total + sent[0])
    assert reduced["loss"].item() == pytest.approx(10 / 4)
    assert reduced["above"].item() == pytest.approx(3 / 4)


@pytest.mark.usefixtures("buffer_size")
def test_means_are_bit_exact_after_resuming_within_an_epoch() -> None:
    uninterrupted, first, second = (
        MeanMetrics(compute_metrics),
        MeanMetrics(compute_metrics),
        MeanMetrics(compute_metrics),
    )
    second.update(*batches(1)[0])  # discarded by load_state_dict
    for i, batch in enumerate(batches(40)):
        if i == 23:
            content = io.BytesIO()
            torch.save(first.state_dict(), content)
            second.load_state_dict(torch.load(io.BytesIO(content.getvalue()), weights_only=True), "cpu")
            assert second.num_examples == 23 * 4
        for means in (uninterrupted, first if i < 23 else second):
            means.update(*batch)
    assert second.compute() == uninterrupted.compute()


def test_state_between_epochs_is_empty() -> None:
    means = MeanMetrics(compute_metrics)
    empty = means.state_dict()
    assert (empty["losses"], len(empty["sizes"]), empty["values"]) == (None, 0, {})
    means.update(*batches(1)[0])
    means.compute()
    assert repr(means.state_dict()) == repr(empty)
    means.load_state_dict(means.state_dict(), "cpu")
    assert means.compute() == {}
