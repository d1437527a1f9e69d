"""dive: the models of Dive into Deep Learning, chapters 3 to 5, on Hydra and PyTorch Lightning."""

from typing import TYPE_CHECKING, Any

from dive.lazy.dynamo import install_lazy_dynamo
from dive.lazy.torchmetrics import install_lazy_torchmetrics

if TYPE_CHECKING:
    from dive.training.fit import train

__all__ = ["train"]

install_lazy_dynamo()
install_lazy_torchmetrics()


def __getattr__(name: str) -> Any:
    # Imported on first use: `train` imports torch, which many parts of dive do not need.
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dive.training.fit import train

    return train
