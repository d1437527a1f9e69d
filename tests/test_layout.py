"""Packages import in one direction, from the bottom to the top, as CONTRIBUTING.md lists them."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dive"

# From the bottom to the top. A module may import from its own package and from earlier rows.
LAYERS = (
    {"errors"},
    {"lazy"},
    {"models", "tasks"},
    {"runs"},
    {"data", "loggers"},
    {"visualization", "config"},
    {"training"},
    {"callbacks", "sweeps"},
    {"notebook", "evaluation", "cli"},
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_packages(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The packages of dive that a module imports, at its top or in a function, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("dive."):
                yield name.split(".")[1], node.lineno


def upward_imports(source: str, package: str) -> list[str]:
    return [
        f"line {line}: {package} imports {imported}"
        for imported, line in imported_packages(ast.parse(source))
        if imported != package and LEVELS[imported] >= LEVELS[package]
    ]


def test_the_package_holds_modules_of_the_listed_packages_only() -> None:
    names = {path.stem for path in SOURCE.iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert names == LEVELS.keys()
    assert {path.name for path in SOURCE.glob("*.py")} == {"__init__.py", "cli.py", "errors.py"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_from_the_top_to_the_bottom(path: Path) -> None:
    if path == SOURCE / "__init__.py":
        return  # installs the lazy imports, and exports `train` on first use
    assert upward_imports(path.read_text(), package_of(path)) == []


def test_an_upward_import_is_found() -> None:
    source = "def train():\n    from dive.callbacks import LastCheckpoint"
    assert upward_imports(source, "training") == ["line 2: training imports callbacks"]
