"""Observers of training, one idea each."""

from dive.callbacks.best import Best, EarlyStopping
from dive.callbacks.exact_resume import ExactResume
from dive.callbacks.last import Last
from dive.callbacks.learning_rate import LearningRate
from dive.callbacks.nan_guard import NanGuard
from dive.callbacks.parameter_error import ParameterError
from dive.callbacks.progress import Progress
from dive.callbacks.throughput import Throughput

__all__ = [
    "Best",
    "EarlyStopping",
    "ExactResume",
    "Last",
    "LearningRate",
    "NanGuard",
    "ParameterError",
    "Progress",
    "Throughput",
]
