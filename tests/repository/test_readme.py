"""The README's sections on adding a model and a data set, done to the letter in a copy of the project."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def files(section: str) -> dict[str, str]:
    """The files that a section shows: a path in backquotes, then a block of code."""
    text = README.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"`((?:src|conf)/[^`]+)`[^`]*```\w+\n(.*?)```", text, flags=re.DOTALL))


def copy_of_the_project(folder: Path) -> None:
    for name in ("conf", "src", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "train.py", folder)


@pytest.mark.parametrize(
    ("section", "number", "overrides", "floor"),
    [
        ("Add a model", 3, ("experiment=skip_mlp", "data=garments", "trainer.max_epochs=2"), 0.5),
        ("Add a data set", 2, ("model=mlp", "data=two_moons"), 0.8),
    ],
)
def test_a_reader_can_do_what_the_readme_says(
    section: str, number: int, overrides: tuple[str, ...], floor: float, tmp_path: Path
) -> None:
    copy_of_the_project(tmp_path)
    shown = files(section)
    assert len(shown) == number
    for name, content in shown.items():
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(content)
    run = tmp_path / "run"
    subprocess.run(
        [sys.executable, "train.py", *overrides, f"hydra.run.dir={run}", "trainer=cpu"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "src")},
        check=True,
    )
    result = json.loads((run / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["score"] > floor


@pytest.mark.parametrize("command", re.findall(r"^python train\.py (.*?)\s*(?:#.*)?$", README, flags=re.MULTILINE))
def test_every_command_of_the_readme_composes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from dive.config.compose import compose_resolved

    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)  # as if optional packages were installed
    words = [word for word in shlex.split(command) if word != "-m" and not word.startswith("resume=")]
    assert compose_resolved(*(re.sub(r"(=[^\[,]*),.*", r"\1", word) for word in words))


def test_every_model_stands_in_the_readme() -> None:
    models = {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    assert models == set(re.findall(r"^\| `(\w+)` \| [\d.]+ \|", README, flags=re.MULTILINE))


def test_a_run_from_a_notebook_is_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = README.split("\n## The book, and notebooks\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["trained"].metrics["test/acc"] > 0.8
    assert (names["trained"].directory / "result.json").exists()
