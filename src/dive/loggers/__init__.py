"""Where metrics go."""

from dive.loggers.console import Console
from dive.loggers.csv import CSV
from dive.loggers.history import History
from dive.loggers.mlflow import MLFlow
from dive.loggers.tensorboard import TensorBoard
from dive.loggers.wandb import WandB

__all__ = ["CSV", "Console", "History", "MLFlow", "TensorBoard", "WandB"]
