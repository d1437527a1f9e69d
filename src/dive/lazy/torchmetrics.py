"""Defer the import of torchmetrics, of which Lightning uses two classes.

If they are no longer where `USED_BY_LIGHTNING` says, the whole package is imported as usual.
"""

import functools
import importlib.util
import logging
import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from types import ModuleType
from typing import Any

# Classes and the modules that define them. The rest of the package imports scipy, torchvision's models and more.
USED_BY_LIGHTNING = {"Metric": "torchmetrics.metric", "MetricCollection": "torchmetrics.collections"}
PLOT = "torchmetrics.utilities.plot"


class LazyPlotModule(ModuleType):
    """Stands in for the plotting module, which imports matplotlib; its functions load it when they are called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.isupper():  # a type, used in annotations
            return Any

        def plot(*args: Any, **kwargs: Any) -> Any:
            return getattr(load_plotting(), name)(*args, **kwargs)

        return plot


@functools.cache
def load_plotting() -> ModuleType:
    """The module that `LazyPlotModule` stands in for."""
    spec = PathFinder.find_spec(PLOT, sys.modules["torchmetrics.utilities"].__path__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LazyModule(ModuleType):
    """The package torchmetrics, executed when an attribute other than `USED_BY_LIGHTNING` is accessed."""

    def __getattr__(self, name: str) -> Any:
        if name in USED_BY_LIGHTNING:
            try:
                return _import_class(name)
            except (ImportError, AttributeError):  # this version of torchmetrics is organized differently
                sys.modules.pop(PLOT, None)
        elif name.startswith("__"):  # introspection, such as hasattr
            raise AttributeError(name)
        if isinstance(self, LazyModule):  # unless the failed import has executed the package
            self.__class__ = ModuleType  # type: ignore[assignment]  # others hold references to this object
            assert self.__spec__ is not None
            assert self.__spec__.loader is not None
            self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def _import_class(name: str) -> Any:
    sys.modules.setdefault(PLOT, LazyPlotModule(PLOT))
    importlib.import_module("torchmetrics.utilities")  # has to be imported before the modules of the classes
    return getattr(importlib.import_module(USED_BY_LIGHTNING[name]), name)


def install_lazy_torchmetrics() -> None:
    """Defer torchmetrics unless it is imported or missing; to be called before Lightning is imported."""
    spec = None if "torchmetrics" in sys.modules else importlib.util.find_spec("torchmetrics")
    if spec is not None:
        package = importlib.util.module_from_spec(spec)
        package.__class__ = LazyModule
        package.__dict__.update(__version__=version("torchmetrics"), _logger=logging.getLogger("torchmetrics"))
        sys.modules["torchmetrics"] = package
