"""Loggers, one per module."""

from dive.loggers.console import ConsoleLogger
from dive.loggers.csv import CSVLogger
from dive.loggers.history import MetricsHistoryLogger
from dive.loggers.mlflow import MLFlowLogger
from dive.loggers.tensorboard import TensorBoardLogger
from dive.loggers.wandb import WandbLogger

__all__ = [
    "CSVLogger",
    "ConsoleLogger",
    "MLFlowLogger",
    "MetricsHistoryLogger",
    "TensorBoardLogger",
    "WandbLogger",
]
