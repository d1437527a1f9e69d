"""What the design promises of the repository itself."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "dive").rglob("*.py"))
LOCK = (ROOT / "requirements.lock").read_text()
DOCS_LOCK = (ROOT / "requirements-docs.lock").read_text()
EXTRAS_LOCK = (ROOT / "requirements-extras.lock").read_text()
TABLE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = TABLE["project"]

# Who may not import what, by the beginnings of module names.
FORBIDDEN = {
    "losses": ("dive", "hydra", "omegaconf", "pytorch_lightning"),
    "optim": ("dive", "hydra", "omegaconf", "pytorch_lightning"),
    "models": ("dive.data", "dive.tasks.task", "hydra", "omegaconf", "pytorch_lightning"),
    "tasks": ("dive.data", "dive.models", "hydra", "omegaconf"),
    "data": ("dive.models", "dive.tasks.task", "hydra", "omegaconf"),
    "callbacks": ("dive.models", "hydra", "omegaconf"),
    "loggers": ("dive.models", "dive.data", "hydra", "omegaconf"),
}
KNOW_HYDRA = {"build", "cli", "compose"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def starts(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src" / "dive")))
def test_imports_run_one_way(path: Path) -> None:
    part = path.relative_to(ROOT / "src" / "dive").parts[0].removesuffix(".py")
    for name in imported(path):
        assert not any(starts(name, prefix) for prefix in FORBIDDEN.get(part, ())), name
        assert part in KNOW_HYDRA or not any(starts(name, prefix) for prefix in ("hydra", "omegaconf")), name


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / "src" / "dive")))
def test_a_module_says_what_it_is_and_is_one_idea(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 180


def blocks(lock: str) -> list[str]:
    """What is pinned, each with its hashes."""
    return re.split(r"(?m)^(?=[a-z0-9])", lock)[1:]


@pytest.mark.parametrize("lock", [LOCK, DOCS_LOCK, EXTRAS_LOCK], ids=["all", "docs", "extras"])
def test_a_lock_has_hashes_for_everything_and_no_address(lock: str) -> None:
    pins = re.findall(r"(?m)^(\S+)==\S+", lock)
    assert len(pins) == len(blocks(lock)) > 50
    assert all("--hash=sha256:" in block for block in blocks(lock))
    assert "://" not in lock
    assert "--index" not in lock
    assert "--find-links" not in lock


@pytest.mark.parametrize(
    ("requirement", "lock"),
    [
        *((word, LOCK) for word in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]),
        *((word, DOCS_LOCK) for word in TABLE["dependency-groups"]["docs"]),
        *((word, EXTRAS_LOCK) for word in TABLE["dependency-groups"]["browser"]),
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
def test_what_is_installed_beside_has_the_versions_that_the_rest_runs_with(other: str) -> None:
    rest, beside = (dict(re.findall(r"(?m)^(\S+)==(\S+)", lock)) for lock in (LOCK, other))
    shared = rest.keys() & beside.keys()
    assert shared
    assert {name: rest[name] for name in shared} == {name: beside[name] for name in shared}


def test_no_data_and_no_output_is_tracked_by_accident() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/data/", "/outputs/", "/multirun/", "/.venv/"} <= set(ignored)
