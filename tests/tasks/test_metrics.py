"""Epoch means against plain means over the examples."""

import io

import pytest
import torch
from torch import Tensor

from dive.tasks import metrics
from dive.tasks.metrics import MeanMetrics


def squared(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """A float and a truth value an example."""
    return {"mse": (outputs - targets).square().mean(1), "above": (outputs > targets).any(1)}


@pytest.fixture(params=[1, 50, 2**18], ids=lambda held: f"{held} held")
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many numbers may wait: each batch is measured at once, a few together, all at the end."""
    monkeypatch.setattr(metrics, "HELD", request.param)
    return int(request.param)


def batches(count: int, size: int = 4) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Losses, outputs and targets of batches, the last of them smaller."""
    generator = torch.Generator().manual_seed(0)
    sizes = [size] * (count - 1) + [size // 2]
    return [(torch.rand((), generator=generator), *torch.rand(2, n, 3, generator=generator)) for n in sizes]


@pytest.mark.usefixtures("held")
def test_an_uneven_last_batch_counts_by_its_examples() -> None:
    means, seen = MeanMetrics(squared), batches(20)
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


def test_when_outputs_are_measured_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for numbers in (1, 50, 2**18):
        monkeypatch.setattr(metrics, "HELD", numbers)
        means = MeanMetrics(squared)
        for batch in batches(200, size=32):
            means.update(*batch)
        told.append(means.compute())
    assert told[0] == told[1] == told[2]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "HELD", 50)
    measured: list[int] = []

    def noted(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        measured.append(len(outputs))
        return squared(outputs, targets)

    means = MeanMetrics(noted)
    for batch in batches(11):
        means.update(*batch)
    assert measured == [20, 20]  # 60 numbers each
    means.compute()
    assert measured == [20, 20, 2]


@pytest.mark.parametrize("wrong", [torch.tensor(3.0), torch.zeros(4, 1), torch.zeros(3)])
def test_what_is_not_measured_for_each_example_is_refused(wrong: Tensor) -> None:
    means = MeanMetrics(lambda *_: {"acc": wrong})
    means.update(torch.tensor(1.0), torch.zeros(4, 1), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"a value of 'acc' for each example, got \(.*\) for 4"):
        means.compute()


def test_after_computing_the_next_epoch_starts_empty() -> None:
    means = MeanMetrics(squared)
    means.update(torch.tensor(100.0), torch.ones(2, 1), torch.zeros(2, 1))
    means.compute()
    assert means.num_examples == 0
    means.update(torch.tensor(2.0), torch.zeros(3, 1), torch.zeros(3, 1))
    assert {name: value.item() for name, value in means.compute().items()} == {"loss": 2, "mse": 0, "above": 0}


def test_reset_forgets_the_epoch_so_far() -> None:
    means = MeanMetrics(squared)
    means.update(torch.tensor(100.0), torch.ones(2, 1), torch.zeros(2, 1))
    means.reset()
    means.update(torch.tensor(2.0), torch.zeros(3, 1), torch.zeros(3, 1))
    assert {name: value.item() for name, value in means.compute().items()} == {"loss": 2, "mse": 0, "above": 0}


def test_without_examples_there_are_no_means() -> None:
    assert MeanMetrics(squared).compute() == {}


def test_reduced_means_are_over_the_examples_of_all_processes() -> None:
    first, second = MeanMetrics(squared), MeanMetrics(squared)
    first.update(torch.tensor(2.0), torch.ones(3, 1), torch.zeros(3, 1))
    second.update(torch.tensor(4.0), torch.zeros(1, 1), torch.zeros(1, 1))
    sent: list[Tensor] = []

    def send(total: Tensor) -> Tensor:
        sent.append(total)
        return total

    first.compute(send)
    assert len(sent) == 1  # one exchange, however many metrics
    together = second.compute(lambda total: total + sent[0])
    assert together["loss"].item() == pytest.approx(10 / 4)
    assert together["above"].item() == pytest.approx(3 / 4)


@pytest.mark.usefixtures("held")
def test_means_kept_in_the_middle_of_an_epoch_go_on_to_the_same_bits() -> None:
    whole, first, second = MeanMetrics(squared), MeanMetrics(squared), MeanMetrics(squared)
    second.update(*batches(1)[0])  # forgotten
    for i, batch in enumerate(batches(40)):
        if i == 23:
            content = io.BytesIO()
            torch.save(first.state_dict(), content)
            second.load_state_dict(torch.load(io.BytesIO(content.getvalue()), weights_only=True))
            assert second.num_examples == 23 * 4
        for means in (whole, first if i < 23 else second):
            means.update(*batch)
    assert second.compute() == whole.compute()


def test_between_epochs_there_is_nothing_to_keep() -> None:
    means = MeanMetrics(squared)
    empty = means.state_dict()
    assert (empty["losses"], len(empty["sizes"]), empty["values"]) == (None, 0, {})
    means.update(*batches(1)[0])
    means.compute()
    assert repr(means.state_dict()) == repr(empty)
    means.load_state_dict(means.state_dict())
    assert means.compute() == {}
