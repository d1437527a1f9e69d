"""What a model says of each example, as a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from dive.data.batches import TensorSet
from dive.predictions import outputs, predict
from dive.tasks import Classification, Task


def prediction_table(task: Task, examples: TensorSet, names: Sequence[str]) -> pd.DataFrame:
    """A row an example, in the order of the set: what is true, and what is predicted.

    Of classes, their names, and the probability of each; of numbers, a column an output where there are several:
    ``true 0``, ``true 1``, ..., ``predicted 0``, ...

    Args:
        task: whose model predicts, on any device.
        examples: ``(num_examples, ...)``.
        names: of the classes; of numbers, none are looked at.
    """
    if isinstance(task, Classification):
        said = predict(task, examples)
        columns: dict[str, Any] = {
            "true": [names[i] for i in said.targets],
            "predicted": [names[i] for i in said.predicted],
        }
        return pd.DataFrame(columns | dict(zip(names, said.probabilities.numpy().T, strict=True)))
    return pd.DataFrame(_numbers("true", examples.targets) | _numbers("predicted", outputs(task, examples.inputs)))


def _numbers(name: str, values: Tensor) -> dict[str, np.ndarray]:
    several = values.shape[1] > 1
    return {f"{name} {i}" if several else name: column for i, column in enumerate(values.cpu().numpy().T)}
