"""Defer importing `torch._dynamo`: it is half of Lightning's import time, and most runs do not compile a model.

If the package no longer has the names that `PLACEHOLDERS` stand in for, it is imported as usual.
"""

import functools
import importlib.abc
import importlib.util
import re
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
    """Stands in for the class of compiled modules; nothing is an instance before dynamo is loaded."""


def disable(function: Any = None, *args: Any, **kwargs: Any) -> Any:
    """Exclude a function from compilation, as soon as dynamo is loaded."""
    if function is None:
        return lambda decorated: disable(decorated, *args, **kwargs)
    if not isfunction(function):
        return load_dynamo().disable(function, *args, **kwargs)
    disabled: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def wrapper(*call_args: Any, **call_kwargs: Any) -> Any:
        if not is_dynamo_loaded():
            return function(*call_args, **call_kwargs)
        if not disabled:
            disabled.append(sys.modules[NAME].disable(function, *args, **kwargs))
        return disabled[0](*call_args, **call_kwargs)

    return wrapper


def graph_break(*_: Any, **__: Any) -> None:
    """Split the compiled graph: there is none before dynamo is loaded."""


# What torch's optimizers and Lightning use in every run.
PLACEHOLDERS = {"OptimizedModule": OptimizedModule, "disable": disable, "graph_break": graph_break}


class LazyDynamoModule(ModuleType):
    """`torch._dynamo`, executed when an attribute other than `PLACEHOLDERS` is accessed."""

    def __getattr__(self, name: str) -> Any:
        if name in PLACEHOLDERS:
            return PLACEHOLDERS[name]
        if name.startswith("__"):  # introspection, such as hasattr
            raise AttributeError(name)
        return getattr(load_dynamo(), name)


def is_dynamo_loaded() -> bool:
    """Whether `torch._dynamo` has been executed, or is being executed."""
    return NAME in sys.modules and not isinstance(sys.modules[NAME], LazyDynamoModule)


def load_dynamo() -> ModuleType:
    """Execute `torch._dynamo` if necessary, and return it."""
    module = sys.modules[NAME]
    if isinstance(module, LazyDynamoModule):
        module.__class__ = ModuleType  # type: ignore[assignment]  # others hold references to this object
        assert module.__spec__ is not None
        assert isinstance(module.__spec__.loader, LazyLoader)
        module.__spec__.loader.loader.exec_module(module)
    return module


class LazyLoader(importlib.util.LazyLoader):
    """Creates a `LazyDynamoModule` instead of executing the package with the given loader."""

    loader: importlib.abc.Loader

    def exec_module(self, module: ModuleType) -> None:
        """Defer the execution."""
        module.__class__ = LazyDynamoModule


class LazyFinder(importlib.abc.MetaPathFinder):
    """Finds `torch._dynamo` before other finders do, and loads it before any of its submodules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec with a `LazyLoader` for the package, and None for everything else."""
        if fullname.startswith(f"{NAME}."):
            load_dynamo()
        if fullname != NAME:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None and _defines_placeholders(spec.loader):
            spec.loader = LazyLoader(spec.loader)
        return spec


def _defines_placeholders(loader: importlib.abc.Loader) -> bool:
    source = loader.get_source(NAME) if isinstance(loader, importlib.abc.InspectLoader) else None
    return source is not None and all(re.search(rf"\b{name}\b", source) for name in PLACEHOLDERS)


def install_lazy_dynamo() -> None:
    """Defer `torch._dynamo` unless it is already imported; to be called before Lightning is imported."""
    if NAME not in sys.modules and not any(isinstance(finder, LazyFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, LazyFinder())
