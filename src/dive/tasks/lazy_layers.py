"""Layers such as `nn.LazyLinear`, whose parameters exist only after a first batch (book 6.4)."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def has_lazy_layers(model: nn.Module) -> bool:
    """Whether a model has parameters or buffers that do not exist yet."""
    return any(map(is_lazy, chain(model.parameters(), model.buffers())))


def initialize_lazy_layers(model: nn.Module, load_inputs: Callable[[], Tensor]) -> None:
    """Run a model that has lazy layers on a batch, so that its parameters exist before an optimizer gets them.

    Args:
        model: it is run in evaluation mode, which draws no dropout mask and updates no statistics.
        load_inputs: returns a batch, ``(batch, ...)``; called only if there are lazy layers.
    """
    if not has_lazy_layers(model):
        return
    modes = {module: module.training for module in model.modules()}
    with torch.no_grad():
        model.eval()(load_inputs())
    for module, training in modes.items():
        module.training = training
