"""Define classes across notebook cells (book 3.2.1)."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def add_to_class(cls: type) -> Callable[[Function], Function]:
    """Decorator that adds a function to a class as a method, also for existing instances (book 3.2.1).

    Args:
        cls: the class.

    Raises:
        TypeError: `cls` is not a class.

    >>> class Counter:
    ...     count = 0
    >>> counter = Counter()
    >>> @add_to_class(Counter)
    ... def step(self):
    ...     self.count += 1
    >>> counter.step(); counter.count
    1
    """
    if not isinstance(cls, type):
        raise TypeError(f"add_to_class takes a class: @add_to_class(MyClass), got {cls!r}")

    def decorator(function: Function) -> Function:
        setattr(cls, function.__name__, function)
        return function

    return decorator


class HyperParameters:
    """Mixin that saves the arguments of a constructor as attributes of the same names (book 3.2.1).

    With `torch.nn.Module`, list it first among the base classes, and call ``super().__init__()`` before saving.

    Attributes:
        hparams: the saved arguments, by name.
    """

    hparams: dict[str, Any]

    def save_hyperparameters(self, ignore: Iterable[str] = ()) -> None:
        """Save the arguments of the calling constructor.

        Args:
            ignore: names of arguments not to save.

        Raises:
            ValueError: a name in `ignore` is not an argument.

        >>> class Net(HyperParameters):
        ...     def __init__(self, num_hiddens, sigma=0.01, verbose=False):
        ...         self.save_hyperparameters(ignore=["verbose"])
        >>> Net(256).hparams, Net(256).sigma
        ({'num_hiddens': 256, 'sigma': 0.01}, 0.01)
        """
        constructor = inspect.currentframe().f_back  # type: ignore[union-attr]  # None only outside CPython
        assert constructor is not None
        code, values = constructor.f_code, inspect.getargvalues(constructor)
        names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        arguments = {name: values.locals[name] for name in names}
        if values.keywords is not None:
            arguments |= values.locals[values.keywords]
        ignore = [ignore] if isinstance(ignore, str) else list(ignore)
        if unknown := set(ignore) - arguments.keys():
            raise ValueError(f"ignore: {', '.join(sorted(unknown))}: choose from {', '.join(arguments)}")
        self.hparams = {name: value for name, value in arguments.items() if name not in ignore}
        for name, value in self.hparams.items():
            setattr(self, name, value)
