"""scripts/rename_project.py on a copy of the project: afterwards training, a sweep and tests work."""

import json
import re

import pytest
from tests.repository.project_copy import ProjectCopy

FEW = ("model=mlp", "data=garments", "data.num_train=256", "data.num_test=64", "data.val_size=64", "trainer=cpu")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """A renamed copy."""
    project = ProjectCopy(tmp_path_factory.mktemp("renamed"))
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@example.org")
    project.run(*git, "init", "--quiet")
    project.run(*git, "add", "--all")
    project.run(*git, "commit", "--quiet", "--message", "start")
    assert "Renamed dive to flower in " in project.python("scripts/rename_project.py", "flower")
    return project


def test_old_name_is_gone(project: ProjectCopy) -> None:
    word = re.compile(r"(?i)(?<![a-z0-9])dive(?![a-z0-9]|[\s_-]+into\b)")
    listed = project.run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    files = [
        name for name in listed if (project.root / name).is_file() and name not in ("LICENSE", "CHANGELOG.md")
    ]
    assert {"src/flower/cli.py", "src/hydra_plugins/flower_launcher.py", "train.py"} <= set(files)
    for name in files:
        assert not word.search(name)
        try:
            text = (project.root / name).read_text()
        except UnicodeDecodeError:
            continue
        assert not word.search(text), name
    assert "Dive into Deep Learning" in (project.root / "README.md").read_text()
    assert not (project.root / "src" / "dive").exists()


def test_renamed_project_trains(project: ProjectCopy) -> None:
    project.python("train.py", *FEW, "trainer.max_epochs=1", "hydra.run.dir=outputs/run")
    result = json.loads((project.root / "outputs" / "run" / "result.json").read_text())
    assert result["status"] == "finished"
    config = project.python(
        "train.py", "data=fashion_mnist", "--cfg", "job", "--resolve", FLOWER_DATA="/somewhere"
    )
    assert "root: /somewhere\n" in config


def test_renamed_project_runs_a_sweep(project: ProjectCopy) -> None:
    words = (
        "trainer.max_epochs=1",
        "seed=0,1",
        "sweep=seeds",
        "launcher=parallel",
        "hydra.launcher.max_workers=1",
    )
    project.python("train.py", "-m", *FEW, *words)
    for seed in (0, 1):
        result = json.loads((project.root / "multirun" / "seeds" / f"seed={seed}" / "result.json").read_text())
        assert result["status"] == "finished"
    project.python("scripts/evaluate.py", "multirun/seeds/seed=0")


def test_renamed_project_passes_tests(project: ProjectCopy) -> None:
    project.run_tests("layout or models or naming or allowlist or validation or rename")
