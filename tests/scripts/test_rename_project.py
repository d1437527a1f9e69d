"""scripts/rename_project.py: which words are replaced, which names are allowed, and one-line errors.

tests/repository/slow/test_rename_project.py renames a copy of the project and trains in it.
"""

import subprocess
from pathlib import Path

import pytest

import rename_project
from rename_project import substitute


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import apple.models", "import my_net.models"),
        ("src/apple/cli.py", "src/my_net/cli.py"),
        ("apple_launcher.AppleLauncher", "my_net_launcher.MyNetLauncher"),
        ("test_apple_itself, $APPLE_DATA, APPLE", "test_my_net_itself, $MY_NET_DATA, MY_NET"),
        ("Apple, apple's", "MyNet, my_net's"),
        ("appleton, pineapple, Appleton, APPLES, apple2", "appleton, pineapple, Appleton, APPLES, apple2"),
        ("Apple into Deep Learning, apple into", "Apple into Deep Learning, apple into"),
        ("Apple\ninto, apple-into-deep-learning, d2l", "Apple\ninto, apple-into-deep-learning, d2l"),
    ],
)
def test_whole_words_and_parts_of_names_are_replaced(before: str, after: str) -> None:
    assert substitute(before, "apple", "my_net") == after


def test_renaming_twice_gives_the_original() -> None:
    text = "apple AppleLauncher APPLE_DATA apple_launcher"
    assert substitute(substitute(text, "apple", "my_net"), "my_net", "apple") == text


@pytest.mark.parametrize(
    "name", ["My_net", "my-net", "2net", "_net", "net_", "", "class", "nét", "my net", "../net"]
)
def test_name_must_be_a_lowercase_identifier(name: str) -> None:
    with pytest.raises(rename_project.RenameError, match="must be a lowercase Python identifier"):
        rename_project.validate_name(name, "apple")


@pytest.mark.parametrize("name", ["json", "torch", "hydra_plugins", "train", "tests", "benchmarks", "grpcio"])
def test_name_must_not_be_that_of_another_module(name: str) -> None:
    with pytest.raises(rename_project.RenameError, match=f"^{name}: is the name of a module that exists already"):
        rename_project.validate_name(name, "apple")


def test_name_must_change() -> None:
    with pytest.raises(rename_project.RenameError, match=r"^apple: is the current name$"):
        rename_project.validate_name("apple", "apple")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project in a git repository without uncommitted changes."""
    files = {
        "pyproject.toml": '[project]\nname = "apple"\n',
        "src/apple/__init__.py": '"""apple."""\n',
        "src/plugins/apple_launcher.py": "class AppleLauncher: ...\n",
        "LICENSE": "the apple authors\n",
        "picture.png": "\xff apple",
        ".gitignore": "__pycache__/\n*.egg-info/\noutputs/\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    (tmp_path / "scripts").mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "start"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    for ignored in ("src/apple/__pycache__/x.pyc", "src/apple.egg-info/PKG-INFO", "outputs/apple/config.yaml"):
        (tmp_path / ignored).parent.mkdir(parents=True)
        (tmp_path / ignored).write_text("apple")
    monkeypatch.setattr(rename_project, "ROOT", tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["rename_project.py", *arguments])
    rename_project.main()


def test_contents_and_paths_are_renamed(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, "my_net")
    assert capsys.readouterr().out.startswith("Renamed apple to my_net in 3 files. Next:\n")
    assert (repository / "src/my_net/__init__.py").read_text() == '"""my_net."""\n'
    assert "class MyNetLauncher" in (repository / "src/plugins/my_net_launcher.py").read_text()
    assert (repository / "pyproject.toml").read_text() == '[project]\nname = "my_net"\n'
    assert sorted(path.name for path in (repository / "src").iterdir()) == ["my_net", "plugins"]
    # Unchanged: the copyright notice, binary files, and what git ignores.
    assert (repository / "LICENSE").read_text() == "the apple authors\n"
    assert (repository / "picture.png").read_bytes() == b"\xff apple"
    assert (repository / "outputs/apple/config.yaml").read_text() == "apple"


def test_uncommitted_changes_need_force(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "new.py").write_text("import apple\n")
    with pytest.raises(
        SystemExit, match=r"^error: there are uncommitted changes; commit them first, or pass --force$"
    ):
        call(monkeypatch, "my_net")
    assert (repository / "src" / "apple" / "__init__.py").exists()
    call(monkeypatch, "my_net", "--force")
    assert (repository / "new.py").read_text() == "import my_net\n"


def test_folder_without_git_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rename_project, "ROOT", tmp_path)
    with pytest.raises(rename_project.RenameError, match="not a git repository; run git init && "):
        rename_project.project_files(force=True)
