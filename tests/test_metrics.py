"""Epoch means against plain means over the examples."""

import io

import pytest
import torch
from torch import Tensor

from dive.metrics import EpochMeans


def test_an_uneven_last_batch_counts_by_its_examples() -> None:
    losses = torch.arange(10.0) ** 2
    right = torch.tensor([1, 1, 1, 1, 1, 1, 1, 1, 0, 0])
    means = EpochMeans()
    for loss, acc in zip(losses.split(4), right.split(4), strict=True):
        means.update({"loss": loss.sum(), "acc": acc.sum()}, len(loss))
    assert means.num_examples == 10
    computed = means.compute()
    assert computed["loss"].item() == pytest.approx(28.5)  # the mean of the batches' means would be 35.8
    assert computed["acc"].item() == pytest.approx(0.8)


def test_means_of_batches_are_weighted_by_their_examples() -> None:
    losses = torch.arange(10.0) ** 2
    means = EpochMeans()
    for loss in losses.split(4):
        means.update({"sum": loss.sum()}, len(loss), means={"mean": loss.mean()})
    computed = means.compute()
    assert computed["mean"].item() == pytest.approx(28.5)
    assert computed["mean"] == pytest.approx(computed["sum"])


def test_after_computing_the_next_epoch_starts_empty() -> None:
    means = EpochMeans()
    means.update({"loss": torch.tensor(100.0)}, 2)
    means.compute()
    assert means.num_examples == 0
    means.update({"loss": torch.tensor(6.0)}, 3)
    assert means.compute()["loss"].item() == 2.0


def test_reset_forgets_the_epoch_so_far() -> None:
    means = EpochMeans()
    means.update({"loss": torch.tensor(100.0)}, 2)
    means.reset()
    means.update({"loss": torch.tensor(6.0)}, 3)
    assert means.compute()["loss"].item() == 2.0


def test_without_examples_there_are_no_means() -> None:
    assert EpochMeans().compute() == {}


def test_reduced_means_are_over_the_examples_of_all_processes() -> None:
    first, second = EpochMeans(), EpochMeans()
    first.update({"loss": torch.tensor(6.0), "acc": torch.tensor(3)}, 3)
    second.update({"loss": torch.tensor(4.0), "acc": torch.tensor(0)}, 1)
    sent: list[Tensor] = []

    def send(total: Tensor) -> Tensor:
        sent.append(total)
        return total

    first.compute(send)
    assert len(sent) == 1  # one exchange, however many metrics
    together = second.compute(lambda total: total + sent[0])
    assert together["loss"].item() == pytest.approx(10 / 4)
    assert together["acc"].item() == pytest.approx(3 / 4)


def test_means_kept_in_the_middle_of_an_epoch_go_on_to_the_same_bits() -> None:
    torch.manual_seed(0)
    losses, right = torch.rand(40).split(1), torch.randint(0, 5, (40,)).split(1)
    whole, first, second = EpochMeans(), EpochMeans(), EpochMeans()
    second.update({"loss": torch.tensor(9.0)}, 1)  # forgotten
    for i, (loss, acc) in enumerate(zip(losses, right, strict=True)):
        if i == 23:
            content = io.BytesIO()
            torch.save(first.state_dict(), content)
            second.load_state_dict(torch.load(io.BytesIO(content.getvalue()), weights_only=True))
            assert second.num_examples == 23 * 4
        for means in (whole, first if i < 23 else second):
            means.update({"acc": acc[0]}, 4, means={"loss": loss[0]})
    assert second.compute() == whole.compute()


def test_between_epochs_there_is_nothing_to_keep() -> None:
    means = EpochMeans()
    empty = means.state_dict()
    assert (empty["sums"], empty["means"], len(empty["sizes"])) == ({}, {}, 0)
    means.update({"loss": torch.tensor(6.0)}, 3)
    means.compute()
    assert repr(means.state_dict()) == repr(empty)
    means.load_state_dict(means.state_dict())
    assert means.compute() == {}
