"""Rules of the repository: imports, module size, lock files, ignored folders."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from dive.config import allowlist

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "dive"
SOURCES = [str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py"))]
LOCK = (ROOT / "requirements.lock").read_text()
DOCS_LOCK = (ROOT / "requirements-docs.lock").read_text()
EXTRAS_LOCK = (ROOT / "requirements-extras.lock").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]

# Modules and packages, and the imports they must not have. tests/test_layout.py checks the order of the packages.
FORBIDDEN = {
    "tasks/losses": ("dive", "pytorch_lightning"),
    "tasks/optim": ("dive", "pytorch_lightning"),
    "models": ("dive.tasks.task", "pytorch_lightning"),
    "tasks": ("dive.models",),
    "data": ("dive.models", "dive.tasks.task"),
    "callbacks": ("dive.models",),
    "loggers": ("dive.models", "dive.data"),
}
MAY_IMPORT_HYDRA = ("cli", "config", "errors", "training/instantiate", "training/scheduler")


def imported_names(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_below(name: str, package: str, separator: str = ".") -> bool:
    return f"{name}{separator}".startswith(f"{package}{separator}")


@pytest.mark.parametrize("path", SOURCES)
def test_module_has_no_forbidden_import(path: str) -> None:
    module = path.removesuffix(".py")
    forbidden = [name for key, names in FORBIDDEN.items() if is_below(module, key, "/") for name in names]
    if not any(is_below(module, key, "/") for key in MAY_IMPORT_HYDRA):
        forbidden += ["hydra", "omegaconf"]
    for name in imported_names((PACKAGE / path).read_text()):
        assert not any(is_below(name, package) for package in forbidden), name


@pytest.mark.parametrize("path", SOURCES)
def test_module_has_a_docstring_and_is_short(path: str) -> None:
    text = (PACKAGE / path).read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 180


def test_allowlist_is_not_extended() -> None:
    assert allowlist.PYPROJECT == ROOT / "pyproject.toml"
    assert allowlist.project_allowlist(allowlist.PYPROJECT) == ()


def pinned_requirements(lock: str) -> list[str]:
    """The entries of a lock file, each with its hashes."""
    return re.split(r"(?m)^(?=[a-z0-9])", lock)[1:]


@pytest.mark.parametrize("lock", [LOCK, DOCS_LOCK, EXTRAS_LOCK], ids=["all", "docs", "extras"])
def test_lock_has_hashes_and_no_urls(lock: str) -> None:
    pins = re.findall(r"(?m)^(\S+)==\S+", lock)
    assert len(pins) == len(pinned_requirements(lock)) > 50
    assert all("--hash=sha256:" in requirement for requirement in pinned_requirements(lock))
    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock


@pytest.mark.parametrize(
    ("requirement", "lock"),
    [
        *((word, LOCK) for word in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]),
        *((word, DOCS_LOCK) for word in PYPROJECT["dependency-groups"]["docs"]),
        *((word, EXTRAS_LOCK) for word in PYPROJECT["dependency-groups"]["browser"]),
        *(
            (word, EXTRAS_LOCK)
            for extra in ("export", "loggers")
            for word in PROJECT["optional-dependencies"][extra]
        ),
    ],
    ids=lambda value: value if len(value) < 99 else "",
)
def test_every_dependency_is_locked(requirement: str, lock: str) -> None:
    name = re.split(r"[<>=\[ ]", requirement)[0].lower()
    assert re.search(rf"(?m)^{name}==", lock)


@pytest.mark.parametrize("other", [DOCS_LOCK, EXTRAS_LOCK], ids=["docs", "extras"])
def test_locks_pin_the_same_versions(other: str) -> None:
    versions, other_versions = (dict(re.findall(r"(?m)^(\S+)==(\S+)", lock)) for lock in (LOCK, other))
    shared = versions.keys() & other_versions.keys()
    assert shared
    assert {name: versions[name] for name in shared} == {name: other_versions[name] for name in shared}


def test_data_and_outputs_are_ignored_by_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/data/", "/outputs/", "/multirun/", "/.venv/"} <= set(ignored)
