"""A team's own package beside train.py, allowed in pyproject.toml, works in training, sweeps and all scripts."""

import json
from pathlib import Path

import pytest
from tests.repository.project_copy import ProjectCopy

MODEL = '''"""A linear classifier."""

from torch import Tensor, nn


class TeamModel(nn.Module):
    """One linear layer.

    Args:
        num_inputs: number of pixels.
        num_outputs: number of classes.
    """

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_inputs, num_outputs)

    def forward(self, X: Tensor) -> Tensor:
        """Compute logits."""
        return self.layer(X.flatten(1))
'''
CONFIG = """# A model of the team.
defaults:
  - /task@_global_: classification
  - /data@_global_.data: garments
  - /optimizer@_global_.optimizer: sgd
  - _self_
_target_: our_team.models.TeamModel
"""
FEW = ("data.num_train=256", "data.num_test=64", "data.val_size=64", "trainer=cpu", "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    """A copy of the project with the package, and a sweep over its model."""
    project = ProjectCopy(tmp_path_factory.mktemp("own_package"))
    (project.root / "our_team").mkdir()
    (project.root / "our_team" / "__init__.py").write_text("")
    (project.root / "our_team" / "models.py").write_text(MODEL)
    (project.root / "conf" / "model" / "team_model.yaml").write_text(CONFIG)
    pyproject = project.root / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("\nallowed = []\n", '\nallowed = ["our_team."]\n'))
    project.python("train.py", "-m", "model=team_model", *FEW, "seed=0,1", "sweep=seeds", "launcher=parallel")
    return project


def test_all_jobs_of_a_sweep_finish(project: ProjectCopy) -> None:
    for seed in (0, 1):
        result = json.loads((project.root / "multirun" / "seeds" / f"seed={seed}" / "result.json").read_text())
        assert (result["status"], result["model"]) == ("finished", "TeamModel")


@pytest.mark.parametrize(
    ("directory", "command"),
    [
        (".", "scripts/evaluate.py multirun/seeds/seed=0 --predictions {tmp}/a.csv --torch-export {tmp}/a.pt2"),
        ("multirun/seeds", "../../scripts/reproduce.py seed=0 --into {tmp}/again"),
        (".", "scripts/compare.py multirun/seeds/seed=0 multirun/seeds/seed=1 --picture {tmp}/compare.png"),
        ("multirun/seeds", "../../scripts/sweep_report.py ."),
    ],
    ids=["evaluate", "reproduce", "compare", "sweep_report"],
)
def test_script_imports_the_package_from_any_directory(
    directory: str, command: str, project: ProjectCopy, tmp_path: Path
) -> None:
    project.python(*command.format(tmp=tmp_path).split(), cwd=project.root / directory)
