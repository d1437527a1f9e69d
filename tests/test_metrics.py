"""Epoch means against plain means over the examples, and the directions of metrics."""

import pytest
import torch
from torch import Tensor

from dive.metrics import HIGHER_IS_BETTER, LOWER_IS_BETTER, EpochMeans, direction


@pytest.mark.parametrize("metric", ["val/loss", "train/mse", "loss", "test/mae", "val/perplexity"])
def test_losses_and_errors_should_fall(metric: str) -> None:
    assert direction(metric) == "min"


@pytest.mark.parametrize("metric", ["val/acc", "test/accuracy", "acc", "val/f1", "val/r2"])
def test_scores_should_rise(metric: str) -> None:
    assert direction(metric) == "max"


def test_only_the_last_part_of_a_name_tells_its_direction() -> None:
    assert direction("loss/acc") == "max"
    assert direction("acc/loss") == "min"


def test_an_unknown_metric_is_refused_with_the_names_that_are_known() -> None:
    with pytest.raises(ValueError, match="'val/luck'") as caught:
        direction("val/luck")
    for name in LOWER_IS_BETTER + HIGHER_IS_BETTER:
        assert name in str(caught.value)


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
