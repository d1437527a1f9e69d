"""Classes written cell by cell (book 3.2.1)."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def add_to_class(cls: type) -> Callable[[Function], Function]:
    """Make the function that follows a method of a class, also of the objects that exist already (book 3.2.1).

    Args:
        cls: the class.

    Raises:
        TypeError: it is none.

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

    def added(function: Function) -> Function:
        setattr(cls, function.__name__, function)
        return function

    return added


class HyperParameters:
    """Saves what its constructor was given as attributes of the same names (book 3.2.1).

    Beside `torch.nn.Module` it stands first, and modules are saved after ``super().__init__()``.

    Attributes:
        hparams: what was saved, by name.
    """

    hparams: dict[str, Any]

    def save_hyperparameters(self, ignore: Iterable[str] = ()) -> None:
        """Called in a constructor, save its arguments.

        Args:
            ignore: the names of those that are not to be saved.

        Raises:
            ValueError: a name to ignore is none of the arguments.

        >>> class Net(HyperParameters):
        ...     def __init__(self, num_hiddens, sigma=0.01, verbose=False):
        ...         self.save_hyperparameters(ignore=["verbose"])
        >>> Net(256).hparams, Net(256).sigma
        ({'num_hiddens': 256, 'sigma': 0.01}, 0.01)
        """
        constructor = inspect.currentframe().f_back  # type: ignore[union-attr]  # Python's own has frames
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
