"""What a configuration may build: one list of names, extended by the repository alone, never by a run."""

import importlib
import inspect
import re
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

from dive.errors import ConfigError

# Classes that live below these names. Not here are Lightning's loggers, strategies and plugins: they send, start
# processes and read files. Nor is torchmetrics: some of its classes load models.
ALLOWED_CLASSES = (
    "dive.callbacks.",
    "dive.data.",
    "dive.loggers.",
    "dive.models.",
    "dive.tasks.optim.",
    "dive.tasks.task.",
    "dive.training.trainer.",
    "torch.nn.",
    "torch.optim.",
    "pytorch_lightning.callbacks.",
    "pytorch_lightning.profilers.",
)

# Functions are allowed where they are mathematics and nothing else.
ALLOWED_FUNCTIONS = ("dive.tasks.losses.", "torch.nn.functional.")

# Of the checkout. Its `[tool.dive] allowed` lists what else may be built, classes and functions.
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


@cache
def project_allowlist(project: Path) -> tuple[str, ...]:
    """The names that a team has added in a ``pyproject.toml``; none where there is no such file or key.

    Raises:
        ConfigError: the file cannot be read, or an entry is not the name of a package and a dot.
    """
    try:
        table = tomllib.loads(project.read_text()).get("tool", {}).get("dive", {})
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise ConfigError(f"{project}: {error}") from error
    names = table.get("allowed", [])
    if not isinstance(names, list):
        raise ConfigError(f"{project}: tool.dive.allowed={names!r}: must be a list, such as ['mypackage.']")
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"([A-Za-z]\w*\.)+", name, flags=re.ASCII):
            raise ConfigError(f"{project}: tool.dive.allowed: {name!r}: must be a name and a dot, 'mypackage.'")
    return tuple(names)


def resolve_target(path: object) -> Callable[..., Any]:
    """The class or function that a `_target_` names, imported only if it is allowed by name, origin and kind.

    Raises:
        ConfigError: it is not below an allowed name, has a part that begins with ``_``, does not exist, is an
            alias of something that is not allowed, or is a function where only classes are allowed.
    """
    extra = project_allowlist(PYPROJECT)
    listed = (
        f"allowed are classes of {', '.join(f'{name}*' for name in ALLOWED_CLASSES)}, "
        f"functions of {', '.join(f'{name}*' for name in ALLOWED_FUNCTIONS)}, "
        f"and of {', '.join(f'{name}*' for name in extra) or 'what [tool.dive] in pyproject.toml adds'}"
    )
    if (
        not isinstance(path, str)
        or not path.startswith((*ALLOWED_CLASSES, *ALLOWED_FUNCTIONS, *extra))
        or "._" in path
    ):
        raise ConfigError(f"not allowed; {listed}")
    module_name, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"does not exist ({error})") from error
    origin = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"
    below = (*ALLOWED_CLASSES, *extra) if inspect.isclass(target) else (*ALLOWED_FUNCTIONS, *extra)
    if not callable(target) or not origin.startswith(below) or not path.startswith(below):
        raise ConfigError(f"stands for something that is not allowed; {listed}")
    return cast(Callable[..., Any], target)
