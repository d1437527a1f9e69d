"""What a model says of each example, as a table."""

from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from dive.data.datamodule import InMemoryDataModule
from dive.data.tensor_dataset import TensorDataset
from dive.tasks.task import ClassificationTask, Task
from dive.visualization.predictions import predict, predict_outputs


def predictions_csv(task: Task, examples: TensorDataset, data: InMemoryDataModule) -> pd.DataFrame:
    """A row an example, in the order of the set: what is true, and what is predicted.

    Of classes, their names, and the probability of each; of numbers, a column an output where there are several:
    ``true 0``, ``true 1``, ..., ``predicted 0``, ..., in the units of their source.

    Args:
        task: whose model predicts, on any device.
        examples: ``(num_examples, ...)``.
        data: that they are of.
    """
    if isinstance(task, ClassificationTask):
        said, names = predict(task, examples), data.class_names
        columns: dict[str, Any] = {
            "true": [names[i] for i in said.targets],
            "predicted": [names[i] for i in said.predicted],
        }
        return pd.DataFrame(columns | dict(zip(names, said.probabilities.numpy().T, strict=True)))
    predicted = predict_outputs(task, examples.inputs).to(examples.targets.device)
    return pd.DataFrame(
        _numbers("true", data.denormalize(examples.targets)) | _numbers("predicted", data.denormalize(predicted))
    )


def _numbers(name: str, values: Tensor) -> dict[str, np.ndarray]:
    several = values.shape[1] > 1
    return {f"{name} {i}" if several else name: column for i, column in enumerate(values.cpu().numpy().T)}
