"""Allow-list of classes and functions that a configuration may build; only `pyproject.toml` extends it."""

import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

from dive.errors import ConfigError

# Lightning's loggers, strategies and plugins are left out because they send data, start processes and read files;
# torchmetrics is left out because some of its classes load models.
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
)

# Listed one by one: each writes only into the run directory, with the path arguments in `dive.config.path_safety`.
# SpikeDetection writes into the working directory and OnExceptionCheckpoint needs a folder: they are left out.
LIGHTNING_CLASSES = tuple(
    f"pytorch_lightning.{name}"
    for name in (
        "callbacks.BatchSizeFinder",
        "callbacks.DeviceStatsMonitor",
        "callbacks.EMAWeightAveraging",
        "callbacks.EarlyStopping",
        "callbacks.GradientAccumulationScheduler",
        "callbacks.LearningRateFinder",
        "callbacks.LearningRateMonitor",
        "callbacks.ModelCheckpoint",
        "callbacks.ModelPruning",
        "callbacks.ModelSummary",
        "callbacks.RichModelSummary",
        "callbacks.RichProgressBar",
        "callbacks.StochasticWeightAveraging",
        "callbacks.TQDMProgressBar",
        "callbacks.ThroughputMonitor",
        "callbacks.Timer",
        "callbacks.WeightAveraging",
        "profilers.AdvancedProfiler",
        "profilers.PassThroughProfiler",
        "profilers.PyTorchProfiler",
        "profilers.SimpleProfiler",
    )
)

# Functions are allowed only where all of them are pure math.
ALLOWED_FUNCTIONS = ("dive.tasks.losses.", "dive.tasks.schedule.", "torch.nn.functional.")

# `[tool.dive] allowed` in this file lists further packages, whose classes and functions are all allowed.
PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


@cache
def project_allowlist(pyproject: Path) -> tuple[str, ...]:
    """Load the packages that a project allows in its ``pyproject.toml``; empty without such a file or key.

    Raises:
        ConfigError: the file cannot be read, or an entry is not a package name followed by a dot.
    """
    try:
        table = tomllib.loads(pyproject.read_text()).get("tool", {}).get("dive", {})
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise ConfigError(f"{pyproject}: {error}") from error
    names = table.get("allowed", [])
    if not isinstance(names, list):
        raise ConfigError(f"{pyproject}: tool.dive.allowed={names!r}: must be a list, such as ['mypackage.']")
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"([A-Za-z]\w*\.)+", name, flags=re.ASCII):
            raise ConfigError(
                f"{pyproject}: tool.dive.allowed: {name!r}: must be a package name and a dot, such as 'mypackage.'"
            )
    return tuple(names)


def resolve_target(path: object) -> Callable[..., Any]:
    """Import the class or function that a `_target_` names, if its name, origin and kind are allowed.

    Raises:
        ConfigError: the name has no allowed prefix, has a part that begins with ``_``, does not exist, is an
            alias of an object that is not allowed, or is a function where only classes are allowed.
    """
    project = project_allowlist(PYPROJECT)
    classes, functions = (*ALLOWED_CLASSES, *project), (*ALLOWED_FUNCTIONS, *project)
    allowed = (
        f"the allowed targets are classes in {', '.join(f'{name}*' for name in ALLOWED_CLASSES)}, "
        "most of pytorch_lightning.callbacks and pytorch_lightning.profilers, "
        f"functions in {', '.join(f'{name}*' for name in ALLOWED_FUNCTIONS)}, and everything in "
        f"{', '.join(f'{name}*' for name in project) or 'packages listed under [tool.dive] in pyproject.toml'}"
    )
    listed = isinstance(path, str) and path in LIGHTNING_CLASSES
    if not isinstance(path, str) or not (listed or path.startswith((*classes, *functions))) or "._" in path:
        raise ConfigError(f"not allowed; {allowed}")
    if path.startswith(project) and (root := str(PYPROJECT.parent)) not in sys.path:
        sys.path.insert(0, root)  # a package beside train.py, used by a script or a notebook in another folder
    module_name, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"does not exist ({error})") from error
    if listed:
        return cast(Callable[..., Any], target)
    origin = f"{getattr(target, '__module__', '')}.{getattr(target, '__qualname__', '')}"
    prefixes = classes if inspect.isclass(target) else functions
    if not callable(target) or not origin.startswith(prefixes) or not path.startswith(prefixes):
        raise ConfigError(f"refers to an object that is not allowed; {allowed}")
    return cast(Callable[..., Any], target)
