"""Callbacks, one per module."""

from dive.callbacks.best_checkpoint import BestCheckpoint
from dive.callbacks.custom_scalars import CustomScalarLayout
from dive.callbacks.early_stopping import EarlyStopping
from dive.callbacks.exact_resume import ExactResume
from dive.callbacks.first_layer_weights import FirstLayerWeights
from dive.callbacks.grad_norm_monitor import GradNormMonitor
from dive.callbacks.histograms import Histograms
from dive.callbacks.last_checkpoint import LastCheckpoint
from dive.callbacks.learning_rate_monitor import LearningRateMonitor
from dive.callbacks.model_graph import ModelGraph
from dive.callbacks.parameter_error import ParameterError
from dive.callbacks.prediction_images import ConfusionMatrix, PRCurves, SamplePredictions, TopLosses
from dive.callbacks.progress_bar import ProgressBar
from dive.callbacks.run_metadata import RunMetadata
from dive.callbacks.terminate_on_non_finite import TerminateOnNonFinite
from dive.callbacks.throughput_monitor import ThroughputMonitor

__all__ = [
    "BestCheckpoint",
    "ConfusionMatrix",
    "CustomScalarLayout",
    "EarlyStopping",
    "ExactResume",
    "FirstLayerWeights",
    "GradNormMonitor",
    "Histograms",
    "LastCheckpoint",
    "LearningRateMonitor",
    "ModelGraph",
    "PRCurves",
    "ParameterError",
    "ProgressBar",
    "RunMetadata",
    "SamplePredictions",
    "TerminateOnNonFinite",
    "ThroughputMonitor",
    "TopLosses",
]
