"""A model's predictions as a table with one row per example."""

from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from dive.data.datamodule import InMemoryDataModule
from dive.data.tensor_dataset import TensorDataset
from dive.tasks.task import ClassificationTask, Task
from dive.visualization.predictions import predict, predict_outputs


def predictions_csv(task: Task, examples: TensorDataset, data: InMemoryDataModule) -> pd.DataFrame:
    """Targets and predictions, one row per example, in the order of the data set.

    For classification: names of the true and predicted class, and the probability of each class. For regression:
    ``true`` and ``predicted``, in the units of the data source; with several outputs ``true 0``, ``true 1``, ...,
    ``predicted 0``, ...

    The task may be on any device; `examples`, with inputs ``(num_examples, ...)``, are from the data module.
    """
    if isinstance(task, ClassificationTask):
        predictions, names = predict(task, examples), data.class_names
        columns: dict[str, Any] = {
            "true": [names[i] for i in predictions.targets],
            "predicted": [names[i] for i in predictions.predicted],
        }
        return pd.DataFrame(columns | dict(zip(names, predictions.probabilities.numpy().T, strict=True)))
    outputs = predict_outputs(task, examples.inputs).to(examples.targets.device)
    return pd.DataFrame(
        _columns("true", data.denormalize(examples.targets)) | _columns("predicted", data.denormalize(outputs))
    )


def _columns(name: str, values: Tensor) -> dict[str, np.ndarray]:
    numbered = values.shape[1] > 1
    return {f"{name} {i}" if numbered else name: column for i, column in enumerate(values.cpu().numpy().T)}
