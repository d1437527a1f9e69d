"""Provenance of a run: command, environment, revision and diff."""

import json
import os
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from dive.runs import provenance


def git(folder: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder outside git, which provenance takes for its own."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set if the tests run in a git hook
        monkeypatch.delenv(name, raising=False)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "A")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@example.org")
    folder = tmp_path / "repo" / "src" / "pkg"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("width = 1\nöl = 2\n\n")
    (tmp_path / "repo" / ".gitignore").write_text("*.log\n")
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    return folder


@pytest.fixture
def repo(package: Path) -> Path:
    """The same in a git repository, with everything committed."""
    root = package.parents[1]
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        ["train.py"],
        ["train.py", "model.num_hiddens=[64, 64]", "a='b c'", "$HOME", "*", 'say="x"', "ä"],
        ["-m", "pkg.tool", "--flag"],
        ["/a path/train.py", ""],
    ],
)
def test_command_can_be_pasted_into_a_shell(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/somewhere/bin/python3.11", *arguments])
    command = provenance.command()
    assert shlex.split(command) == ["python", *arguments]
    assert "\n" not in command
    echo = ["sh", "-c", command.replace("python", "printf '%s\\n'", 1)]
    printed = subprocess.run(echo, capture_output=True, text=True, check=True).stdout
    assert printed == "".join(f"{argument}\n" for argument in arguments)


def test_command_is_recorded_as_typed_although_resume_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["python", "train.py", "resume=run"])
    monkeypatch.setattr(sys, "argv", ["train.py", "--config-path=/run", "hydra.run.dir='/run'"])
    assert provenance.command() == "python train.py resume=run"


def test_environment_contains_versions_and_machine_in_json_types() -> None:
    environment = provenance.environment()
    assert json.loads(json.dumps(environment)) == environment
    assert environment["python"] == ".".join(str(part) for part in sys.version_info[:3])
    assert environment["packages"] == {name: version(name) for name in provenance.PACKAGES}
    assert environment["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert environment["torch_threads"] == torch.get_num_threads()
    assert environment["cpu_count"] == os.cpu_count()
    assert len(environment["gpus"]) == torch.cuda.device_count()


def test_clean_checkout_has_a_revision_and_no_diff(repo: Path) -> None:
    environment = provenance.environment()
    assert environment["git_revision"] == git(repo, "rev-parse", "HEAD").strip()
    assert len(environment["git_revision"]) == 40
    assert environment["git_dirty"] is False
    assert provenance.code_diff() == ""


def test_ignored_files_do_not_count(repo: Path, package: Path) -> None:
    (package / "some.log").write_text("ignored")
    assert provenance.environment()["git_dirty"] is False
    assert provenance.code_diff() == ""


@pytest.mark.parametrize("staged", [False, True])
def test_diff_restores_the_code_in_a_clean_checkout(
    staged: bool, repo: Path, package: Path, tmp_path: Path
) -> None:
    changed = "width = 3\nöl = 2\n\n"
    (package / "model.py").write_text(changed)
    (repo / ".gitignore").write_text("*.log\n*.tmp")
    if staged:
        git(repo, "add", ".")
    (package / "mine.py").write_text("unknown to git\n")
    diff = provenance.code_diff()
    assert provenance.environment()["git_dirty"] is True
    assert "-width = 1" in diff.splitlines()
    assert "+width = 3" in diff.splitlines()

    git(repo, "clone", "--quiet", ".", str(tmp_path / "clone"))
    (tmp_path / "code.diff").write_text(diff)
    git(tmp_path / "clone", "apply", str(tmp_path / "code.diff"))
    assert (tmp_path / "clone" / "src" / "pkg" / "model.py").read_text() == changed
    assert (tmp_path / "clone" / ".gitignore").read_text() == "*.log\n*.tmp"


def test_untracked_files_are_named(repo: Path, package: Path) -> None:
    (package / "mine.py").write_text("secret = 1\n")
    (line,) = provenance.code_diff().splitlines()
    assert line.startswith("untracked: ")
    assert line.endswith("mine.py")
    assert provenance.environment()["git_dirty"] is True


def test_no_revision_outside_git(package: Path) -> None:
    environment = provenance.environment()
    assert environment["git_revision"] is None
    assert environment["git_dirty"] is False
    assert provenance.code_diff() == ""


def test_no_revision_without_git(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repo / "nothing"))
    assert provenance.environment()["git_revision"] is None
    assert provenance.code_diff() == ""


def test_no_revision_without_a_commit(package: Path) -> None:
    git(package.parents[1], "init", "--quiet")
    assert provenance.environment()["git_revision"] is None
