"""Following docs/extending.md to the letter: the model and the data set train, and the remaining tests pass."""

import json
import re
import shutil
from pathlib import Path

import pytest
from tests.repository.project_copy import ROOT, ProjectCopy

PAGE = (ROOT / "docs" / "extending.md").read_text()


def shown_files(section: str) -> dict[str, str]:
    """The files that a section shows: a path in backquotes, then a code block."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"`((?:src|conf)/[^`]+)`[^`]*```\w+\n(.*?)```", text, flags=re.DOTALL))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """A copy of the project without tests/repository, to which the model and the data set are added."""
    project = ProjectCopy(tmp_path_factory.mktemp("extended"))
    shutil.rmtree(project.root / "tests" / "repository")
    files = shown_files("Add a model") | shown_files("Add a data set")
    assert len(files) == 3 + 2
    for name, content in files.items():
        assert not (project.root / name).exists()
        (project.root / name).write_text(content)
    return project


@pytest.mark.parametrize(
    ("overrides", "min_score"),
    [
        (("experiment=skip_mlp", "data=garments", "trainer.max_epochs=2"), 0.5),
        (("model=mlp", "data=two_moons"), 0.8),
    ],
    ids=["model", "data"],
)
def test_added_model_and_data_set_train(
    overrides: tuple[str, ...], min_score: float, project: ProjectCopy, tmp_path: Path
) -> None:
    project.python("train.py", *overrides, f"hydra.run.dir={tmp_path}", "trainer=cpu")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["score"] > min_score


def test_remaining_tests_pass(project: ProjectCopy) -> None:
    out = project.run_tests(
        "layout or models or skip_mlp or two_moons or (test_conf and (model or data or experiment))"
    )
    assert "skip_mlp" in out
    assert "two_moons" in out
