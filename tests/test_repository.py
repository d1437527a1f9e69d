"""What the design promises of the repository itself."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "dive").rglob("*.py"))
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Who may not import what, by the beginnings of module names.
FORBIDDEN = {
    "losses": ("dive", "hydra", "omegaconf", "pytorch_lightning"),
    "optim": ("dive", "hydra", "omegaconf", "pytorch_lightning"),
    "models": ("dive.data", "dive.tasks", "hydra", "omegaconf", "pytorch_lightning"),
    "tasks": ("dive.data", "dive.models", "hydra", "omegaconf"),
    "data": ("dive.models", "dive.tasks", "hydra", "omegaconf"),
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


def test_the_lock_has_hashes_for_everything_and_no_address() -> None:
    pins = re.findall(r"^(\S+)==\S+.*?(?=^\S|\Z)", LOCK, flags=re.MULTILINE | re.DOTALL)
    blocks = re.split(r"(?m)^(?=[a-z0-9])", LOCK)[1:]
    assert len(pins) == len(blocks) > 50
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in LOCK
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK


@pytest.mark.parametrize("requirement", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
def test_every_dependency_is_locked(requirement: str) -> None:
    name = re.split(r"[<>=\[ ]", requirement)[0].lower()
    assert re.search(rf"(?m)^{name}==", LOCK)


def test_no_data_and_no_output_is_tracked_by_accident() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/data/", "/outputs/", "/multirun/", "/.venv/"} <= set(ignored)
