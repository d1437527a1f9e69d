"""Where metrics go."""

from dive.loggers.console import Console
from dive.loggers.history import History
from dive.loggers.tensorboard import TensorBoard

__all__ = ["Console", "History", "TensorBoard"]
