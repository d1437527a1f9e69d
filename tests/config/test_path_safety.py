"""Arguments of allowed classes that name files, folders or servers."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import pytest

from dive.config.allowlist import ALLOWED_CLASSES, LIGHTNING_CLASSES, resolve_target
from dive.config.path_safety import PATH_ARGUMENTS, escapes_run_dir
from dive.config.signature import accepted_arguments
from dive.errors import ConfigError

SUSPICIOUS = re.compile(r"path|dir(?!ection)|file(?!r)|folder|url|uri|root|mirror|host|port(?!ion)|link|socket")
HARMLESS = {"bidirectional", "export_to_chrome"}  # whether to export, not where


def allowed_targets() -> Iterator[str]:
    """The names of all classes that a configuration may build."""
    yield from LIGHTNING_CLASSES
    for prefix in ALLOWED_CLASSES:
        package = importlib.import_module(prefix.rstrip("."))
        names = [package.__name__]
        if hasattr(package, "__path__"):
            names += [module.name for module in pkgutil.walk_packages(package.__path__, prefix)]
        for name in names:
            if "._" in name or ".intrinsic" in name or ".quant" in name or ".qat" in name:
                continue
            module = importlib.import_module(name)
            yield from (f"{name}.{member}" for member, _ in inspect.getmembers(module, inspect.isclass))


def path_arguments(target: str) -> set[str]:
    """The arguments of a class whose name or type hint suggests a path or an address."""
    try:
        names, hints, _ = accepted_arguments(resolve_target(target))
    except (ConfigError, ValueError):
        return set()
    return {
        name
        for name in names
        if (SUSPICIOUS.search(name) or "Path" in str(hints.get(name, ""))) and name not in HARMLESS
    }


def test_every_path_argument_of_an_allowed_class_is_known() -> None:
    found = {name: target for target in set(allowed_targets()) for name in path_arguments(target)}
    assert {name: target for name, target in found.items() if name not in PATH_ARGUMENTS} == {}
    assert {"dirpath", "filename", "root", "mirror", "path"} <= found.keys(), "the search finds what it should"


@pytest.mark.parametrize(
    "name", ["best", "{epoch:02d}-{val/loss:.3f}", "a-b_c=d e", "{step}", "x.y", "{epoch}{step:05d}"]
)
def test_plain_file_name_is_accepted(name: str) -> None:
    assert escapes_run_dir("callbacks.best.filename", name) is None


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "..",
        ".hidden",
        "/tmp/x",
        "a\\b",
        "{step:c}",
        "{step!r}",
        "{step.real}",
        "{step[0]}",
        "{/tmp/x}",
        "{a//b}",
        "{a/../b}",
        "a\0b",
        "{",
        "{step:>9}",
        "é",
        "a\n",
    ],
)
def test_other_file_name_is_rejected(name: str) -> None:
    assert escapes_run_dir("callbacks.best.filename", name) is not None
