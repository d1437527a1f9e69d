"""dive: the models of Dive into Deep Learning, chapters 3 to 5, on Hydra and PyTorch Lightning."""

from typing import TYPE_CHECKING, Any

from dive.slow_compiler import put_off_compiler
from dive.slow_imports import put_off_torchmetrics

if TYPE_CHECKING:
    from dive.training import train

__all__ = ["train"]

put_off_compiler()
put_off_torchmetrics()


def __getattr__(name: str) -> Any:
    # `train` takes torch: parts of dive that do without need not wait for it.
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dive.training import train

    return train
