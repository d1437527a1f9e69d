"""Observers of training, one idea each."""

from dive.callbacks.best import Best, EarlyStopping
from dive.callbacks.charts import Charts
from dive.callbacks.exact_resume import ExactResume
from dive.callbacks.first_layer import FirstLayer
from dive.callbacks.histograms import Histograms
from dive.callbacks.last import Last
from dive.callbacks.learning_rate import LearningRate
from dive.callbacks.model_graph import ModelGraph
from dive.callbacks.nan_guard import NanGuard
from dive.callbacks.norms import Norms
from dive.callbacks.parameter_error import ParameterError
from dive.callbacks.predicted import ConfusionMatrix, Mistakes, PRCurves, Samples
from dive.callbacks.progress import Progress
from dive.callbacks.run_record import RunRecord
from dive.callbacks.throughput import Throughput

__all__ = [
    "Best",
    "Charts",
    "ConfusionMatrix",
    "EarlyStopping",
    "ExactResume",
    "FirstLayer",
    "Histograms",
    "Last",
    "LearningRate",
    "Mistakes",
    "ModelGraph",
    "NanGuard",
    "Norms",
    "PRCurves",
    "ParameterError",
    "Progress",
    "RunRecord",
    "Samples",
    "Throughput",
]
