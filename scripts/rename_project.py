"""Rename the project in all of its files: ``python scripts/rename_project.py NEWNAME``.

Renames the package, the Hydra plugins and their classes, the DIVE_DATA environment variable, the configurations,
the docs and the tests. LICENSE and CHANGELOG.md keep the old name, as does the title "Dive into Deep Learning".
Run directories made before the rename cannot be resumed or evaluated after it. Needs nothing but Python and git.
"""

import argparse
import importlib.util
import keyword
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNCHANGED = {"LICENSE", "CHANGELOG.md"}  # the copyright notice and the history belong to the original project
CONTINUES = r"[A-Za-z0-9]|[\s_-]+into\b"  # what must not follow the name: diverge, Dive into Deep Learning


class RenameError(Exception):
    """The project cannot be renamed; the message is one line."""


def main() -> None:
    """Validate the new name, rename, and print what to do next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NEWNAME", help="a lowercase Python identifier, such as my_project")
    parser.add_argument("--force", action="store_true", help="rename despite uncommitted changes")
    arguments = parser.parse_args()
    old, new = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["name"], arguments.name
    try:
        validate_name(new, old)
        files = project_files(arguments.force)
    except RenameError as error:
        sys.exit(f"error: {error}")
    print(f"Renamed {old} to {new} in {rename(files, old, new)} files. Next:")
    print(f"  .venv/bin/python -m pip uninstall --yes {old}   # if there is a .venv")
    print("  make lint test")
    print("  git add --all && git commit")


def validate_name(new: str, old: str) -> None:
    """Check that the new name can be that of a top-level package.

    Raises:
        RenameError: it is not a lowercase identifier, or is the name of another module or of a dependency.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9_]*[a-z0-9])?", new) or keyword.iskeyword(new):
        raise RenameError(f"{new!r}: must be a lowercase Python identifier, such as my_project")
    if new == old:
        raise RenameError(f"{new}: is the current name")
    locks = "\n".join(path.read_text() for path in ROOT.glob("requirements*.lock"))
    entries = [path.stem for folder in (ROOT, ROOT / "src", ROOT / "scripts") for path in folder.iterdir()]
    if (
        new in (*sys.stdlib_module_names, *entries)
        or re.search(rf"(?m)^{new.replace('_', '[-_]')}==", locks)
        or importlib.util.find_spec(new)
    ):
        raise RenameError(f"{new}: is the name of a module that exists already; choose another name")


def project_files(force: bool) -> list[Path]:
    """List all files that git tracks or does not ignore, relative to the root.

    Raises:
        RenameError: there is no git repository, or it has uncommitted changes and `force` is false.
    """
    if not (ROOT / ".git").exists():
        raise RenameError(f"{ROOT}: not a git repository; run git init && git add --all && git commit -m start")
    if _git("status", "--porcelain") and not force:
        raise RenameError("there are uncommitted changes; commit them first, or pass --force")
    names = _git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return [Path(name) for name in names if (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


def rename(files: list[Path], old: str, new: str) -> int:
    """Rename in the contents and paths of files, given relative to the root; return how many changed."""
    changed = 0
    for path in files:
        if path.name in UNCHANGED:
            continue
        source, target = ROOT / path, ROOT / substitute(str(path), old, new)
        content = source.read_bytes()
        try:
            renamed = substitute(content.decode(), old, new).encode()
        except UnicodeDecodeError:  # not a text file
            renamed = content
        if renamed != content:
            source.write_bytes(renamed)
        if target != source:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
        changed += renamed != content or target != source
    package = ROOT / "src" / old
    if not any(path.is_file() and path.suffix != ".pyc" for path in package.rglob("*")):
        shutil.rmtree(package, ignore_errors=True)  # __pycache__ would keep it importable as a namespace package
    shutil.rmtree(ROOT / "src" / f"{old}.egg-info", ignore_errors=True)
    if importlib.util.find_spec("ruff"):  # the name determines the order of imports and line breaks
        for command in (["check", "--select", "I", "--fix"], ["format"]):
            subprocess.run([sys.executable, "-m", "ruff", *command, "--quiet", "."], cwd=ROOT)
    return changed


def substitute(text: str, old: str, new: str) -> str:
    """Replace whole words and whole parts of snake_case, CamelCase and UPPER_CASE names.

    >>> substitute("dive.models, dive_launcher, DiveLauncher, DIVE_DATA, diverge, Dive into", "dive", "my_net")
    'my_net.models, my_net_launcher, MyNetLauncher, MY_NET_DATA, diverge, Dive into'
    """
    for form in (str, str.upper):
        text = re.sub(rf"(?<![A-Za-z0-9]){form(old)}(?!{CONTINUES})", form(new), text)
    follows = CONTINUES.replace("A-Z", "")  # in CamelCase, a capital begins the next word
    return re.sub(rf"(?<![A-Za-z0-9]){_camel_case(old)}(?!{follows})", _camel_case(new), text)


def _camel_case(name: str) -> str:
    return name.title().replace("_", "")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
