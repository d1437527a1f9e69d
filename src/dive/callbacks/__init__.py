"""Observers of training, one idea each."""

from dive.callbacks.best import Checkpoint, EarlyStopping
from dive.callbacks.learning_rate import LearningRate
from dive.callbacks.nan_guard import NanGuard
from dive.callbacks.parameter_error import ParameterError
from dive.callbacks.progress import Progress
from dive.callbacks.throughput import Throughput

__all__ = [
    "Checkpoint",
    "EarlyStopping",
    "LearningRate",
    "NanGuard",
    "ParameterError",
    "Progress",
    "Throughput",
]
