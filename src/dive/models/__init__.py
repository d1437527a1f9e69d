"""The models: plain `torch.nn.Module`s built from `num_inputs`, `num_outputs` and their own hyperparameters."""

from dive.models.linear import LinearRegression, LinearRegressionScratch
from dive.models.mlp import MLP, MLPScratch
from dive.models.softmax import SoftmaxRegression, SoftmaxRegressionScratch

__all__ = [
    "MLP",
    "LinearRegression",
    "LinearRegressionScratch",
    "MLPScratch",
    "SoftmaxRegression",
    "SoftmaxRegressionScratch",
]
