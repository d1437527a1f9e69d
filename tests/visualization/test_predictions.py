"""What a classifier says of a whole split, beside the same said one by one."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from dive.data.tensor_dataset import TensorDataset
from dive.tasks.losses import cross_entropy
from dive.tasks.task import ClassificationTask
from dive.visualization.predictions import Predictions, predict, predict_outputs, probabilities


def classification(loss: object = None) -> ClassificationTask:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Dropout(0.5))
    return ClassificationTask(model, loss or nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1))


def examples(count: int = 50) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(
        torch.rand(count, 1, 2, 3, generator=generator), torch.randint(3, (count,), generator=generator)
    )


def test_outputs_are_those_of_each_example_in_evaluation_mode() -> None:
    task, inputs = classification(), examples().inputs
    flat, linear, _ = task.model
    expected = torch.stack([linear(flat(one.unsqueeze(0)))[0] for one in inputs])
    said = predict_outputs(task, inputs, batch_size=7)
    torch.testing.assert_close(said, expected)
    assert not said.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_afterwards_in_the_mode_it_was_in(training: bool) -> None:
    task = classification().train(training)
    predict_outputs(task, examples().inputs)
    assert task.training is task.model.training is training


def test_probabilities_are_the_softmax_of_logits_and_what_is_said_where_that_is_probabilities() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    assert probabilities(classification(), logits).sum() == pytest.approx(1)
    torch.testing.assert_close(probabilities(classification(), logits), logits.exp() / logits.exp().sum())
    said = torch.tensor([[0.2, 0.3, 0.5]])
    for loss in (cross_entropy, partial(cross_entropy)):
        assert probabilities(classification(loss), said) is said


def test_predictions_hold_the_set_and_what_is_said_of_it() -> None:
    task, split = classification(), examples()
    said = predict(task, split)
    assert torch.equal(said.inputs, split.inputs)
    assert torch.equal(said.targets, split.targets)
    assert torch.equal(said.predicted, predict_outputs(task, split.inputs).argmax(1))


def said(rows: list[list[float]], targets: list[int]) -> Predictions:
    probabilities: Tensor = torch.tensor(rows)
    return Predictions(torch.zeros(len(rows), 1), torch.tensor(targets), probabilities)


SAID = said([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9], [0.5, 0.4, 0.1]], [0, 0, 0, 1, 0])


def test_mistakes_come_with_the_most_confident_first() -> None:
    assert SAID.most_confident_errors(9).tolist() == [3, 1, 2]
    assert SAID.most_confident_errors(2).tolist() == [3, 1]
    assert said([[0.6, 0.4]], [0]).most_confident_errors(3).tolist() == []


def test_confusion_counts_true_classes_in_rows() -> None:
    assert SAID.confusion().tolist() == [[2, 2, 0], [0, 0, 1], [0, 0, 0]]
    assert SAID.confusion().sum() == len(SAID.targets)
