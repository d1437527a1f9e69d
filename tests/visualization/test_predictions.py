"""Predictions on a whole split, compared with predictions one by one."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from dive.data.tensor_dataset import TensorDataset
from dive.tasks.losses import cross_entropy
from dive.tasks.task import ClassificationTask
from dive.visualization.predictions import Predictions, class_probabilities, predict, predict_outputs


def classification(loss: object = None) -> ClassificationTask:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 3), nn.Dropout(0.5))
    return ClassificationTask(model, loss or nn.CrossEntropyLoss(), partial(torch.optim.SGD, lr=0.1))


def examples(count: int = 50) -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(
        torch.rand(count, 1, 2, 3, generator=generator), torch.randint(3, (count,), generator=generator)
    )


def test_outputs_equal_those_of_single_examples_in_evaluation_mode() -> None:
    task, inputs = classification(), examples().inputs
    flat, linear, _ = task.model
    expected = torch.stack([linear(flat(one.unsqueeze(0)))[0] for one in inputs])
    outputs = predict_outputs(task, inputs, batch_size=7)
    torch.testing.assert_close(outputs, expected)
    assert not outputs.requires_grad


@pytest.mark.parametrize("training", [True, False])
def test_mode_of_the_model_is_restored(training: bool) -> None:
    task = classification().train(training)
    predict_outputs(task, examples().inputs)
    assert task.training is task.model.training is training


def test_class_probabilities_are_the_softmax_of_logits_or_the_outputs_themselves() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    assert class_probabilities(classification(), logits).sum() == pytest.approx(1)
    torch.testing.assert_close(class_probabilities(classification(), logits), logits.exp() / logits.exp().sum())
    outputs = torch.tensor([[0.2, 0.3, 0.5]])
    for loss in (cross_entropy, partial(cross_entropy)):
        assert class_probabilities(classification(loss), outputs) is outputs


def test_predictions_hold_inputs_targets_and_predicted_classes() -> None:
    task, split = classification(), examples()
    predictions = predict(task, split)
    assert torch.equal(predictions.inputs, split.inputs)
    assert torch.equal(predictions.targets, split.targets)
    assert torch.equal(predictions.predicted, predict_outputs(task, split.inputs).argmax(1))


def make_predictions(rows: list[list[float]], targets: list[int]) -> Predictions:
    probabilities: Tensor = torch.tensor(rows)
    return Predictions(torch.zeros(len(rows), 1), torch.tensor(targets), probabilities)


PREDICTIONS = make_predictions(
    [[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.0, 0.1, 0.9], [0.5, 0.4, 0.1]], [0, 0, 0, 1, 0]
)


def test_errors_are_sorted_by_confidence() -> None:
    assert PREDICTIONS.most_confident_errors(9).tolist() == [3, 1, 2]
    assert PREDICTIONS.most_confident_errors(2).tolist() == [3, 1]
    assert make_predictions([[0.6, 0.4]], [0]).most_confident_errors(3).tolist() == []


def test_confusion_matrix_has_true_classes_in_rows() -> None:
    assert PREDICTIONS.confusion_matrix().tolist() == [[2, 2, 0], [0, 0, 1], [0, 0, 0]]
    assert PREDICTIONS.confusion_matrix().sum() == len(PREDICTIONS.targets)
