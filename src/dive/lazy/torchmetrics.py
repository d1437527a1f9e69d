"""Put off what nobody may need: of torchmetrics, Lightning wants two classes, and would wait for all of it."""

import functools
import importlib.util
import logging
import sys
from importlib.machinery import PathFinder
from importlib.metadata import version
from types import ModuleType
from typing import Any

# What Lightning wants, and the modules that have it. All else brings scipy, torchvision's models and more.
USED_BY_LIGHTNING = {"Metric": "torchmetrics.metric", "MetricCollection": "torchmetrics.collections"}
PLOT = "torchmetrics.utilities.plot"


class LazyPlotModule(ModuleType):
    """What draws metrics, which brings matplotlib: its functions load the module when they are called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name.isupper():  # a type, for annotations
            return Any

        def draw(*arguments: Any, **settings: Any) -> Any:
            return getattr(load_plotting(), name)(*arguments, **settings)

        return draw


@functools.cache
def load_plotting() -> ModuleType:
    """The module that `LazyPlotModule` stands for."""
    spec = PathFinder.find_spec(PLOT, sys.modules["torchmetrics.utilities"].__path__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class LazyModule(ModuleType):
    """The package torchmetrics, imported as a whole when anything else of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in USED_BY_LIGHTNING:
            sys.modules.setdefault(PLOT, LazyPlotModule(PLOT))
            importlib.import_module("torchmetrics.utilities")  # those modules cannot be imported before
            return getattr(importlib.import_module(USED_BY_LIGHTNING[name]), name)
        if name.startswith("__"):  # somebody looks around
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # from now on it is like any other
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def install_lazy_torchmetrics() -> None:
    """Let it wait, unless it is there already, or not installed. To be called before Lightning is imported."""
    spec = None if "torchmetrics" in sys.modules else importlib.util.find_spec("torchmetrics")
    if spec is not None:
        package = importlib.util.module_from_spec(spec)
        package.__class__ = LazyModule
        package.__dict__.update(__version__=version("torchmetrics"), _logger=logging.getLogger("torchmetrics"))
        sys.modules["torchmetrics"] = package
