"""Put off torch's compiler, half of what Lightning takes to import: it only asks whether a model is compiled."""

import functools
import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from inspect import isfunction
from types import ModuleType
from typing import Any

NAME = "torch._dynamo"


class _LazyInstanceCheck(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return is_dynamo_loaded() and isinstance(instance, sys.modules[NAME].OptimizedModule)


class OptimizedModule(metaclass=_LazyInstanceCheck):
    """What `torch.compile` returns: nothing is one before there is a compiler."""


def disable(function: Any = None, *flags: Any, **settings: Any) -> Any:
    """Leave a function to Python, once there is a compiler that it could be taken to."""
    if function is None:
        return lambda given: disable(given, *flags, **settings)
    if not isfunction(function):
        return load_dynamo().disable(function, *flags, **settings)
    left_alone: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def called(*arguments: Any, **keywords: Any) -> Any:
        if not is_dynamo_loaded():
            return function(*arguments, **keywords)
        if not left_alone:
            left_alone.append(sys.modules[NAME].disable(function, *flags, **settings))
        return left_alone[0](*arguments, **keywords)

    return called


def graph_break(*_: Any, **__: Any) -> None:
    """Divide what is compiled: nothing is."""


# What torch's optimizers and Lightning ask for, in each run.
PLACEHOLDERS = {"OptimizedModule": OptimizedModule, "disable": disable, "graph_break": graph_break}


class LazyDynamoModule(ModuleType):
    """The compiler's package, executed when anything but `PLACEHOLDERS` is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in PLACEHOLDERS:
            return PLACEHOLDERS[name]
        if name.startswith("__"):  # somebody looks around
            raise AttributeError(name)
        return getattr(load_dynamo(), name)


def is_dynamo_loaded() -> bool:
    """Whether the compiler has been executed, or is being."""
    return NAME in sys.modules and not isinstance(sys.modules[NAME], LazyDynamoModule)


def load_dynamo() -> ModuleType:
    """The compiler; from now on it is a module like any other."""
    compiler = sys.modules[NAME]
    if isinstance(compiler, LazyDynamoModule):
        compiler.__class__ = ModuleType  # type: ignore[assignment]  # it stays the object that others hold
        assert compiler.__spec__ is not None
        assert isinstance(compiler.__spec__.loader, LazyLoader)
        compiler.__spec__.loader.loader.exec_module(compiler)
    return compiler


class LazyLoader(importlib.abc.Loader):
    """Makes a `LazyDynamoModule` in the place of executing the package.

    Args:
        loader: that would execute it.
    """

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As that loader does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Not yet."""
        module.__class__ = LazyDynamoModule  # it has no attributes of its own


class LazyFinder(importlib.abc.MetaPathFinder):
    """Finds the compiler's package first, and has it loaded before any of its modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of the package, a specification that puts it off; of its modules, none."""
        if fullname.startswith(f"{NAME}."):
            load_dynamo()
        if fullname != NAME:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def install_lazy_dynamo() -> None:
    """Let it wait, unless it is there already. To be called before Lightning is imported."""
    if NAME not in sys.modules and not any(isinstance(finder, LazyFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LazyFinder())
