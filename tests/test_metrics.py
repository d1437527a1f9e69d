"""Epoch means against plain means over the examples."""

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
