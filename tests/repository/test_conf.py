"""Rules of dive's own configurations: a description in each file, headers of experiments, the book's numbers."""

from pathlib import Path

import pytest
import yaml

from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR

FILES = [str(path.relative_to(CONFIG_DIR)) for path in sorted(CONFIG_DIR.rglob("*.yaml"))]


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


@pytest.mark.parametrize("file", FILES)
def test_every_config_is_described_and_short(file: str) -> None:
    lines = Path(CONFIG_DIR, file).read_text().splitlines()
    assert any(line.startswith("# ") and not line.startswith("# @package") for line in lines[:2])
    assert len(lines) <= 36


@pytest.mark.parametrize("name", names("experiment"))
def test_every_experiment_states_command_cost_and_score(name: str) -> None:
    header = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text()
    assert f"#   command   python train.py experiment={name}\n" in header
    assert "#   cost      " in header
    assert "#   expected  " in header


def test_every_task_is_used_by_a_model() -> None:
    used = {
        choice
        for path in (CONFIG_DIR / "model").glob("*.yaml")
        for entry in yaml.safe_load(path.read_text())["defaults"]
        if isinstance(entry, dict)
        for group, choice in entry.items()
        if group == "/task@_global_"
    }
    assert used == set(names("task"))


@pytest.mark.parametrize("name", names("model"))
def test_model_selects_the_data_of_its_chapter(name: str) -> None:
    expected = "dive.data.SyntheticRegression" if "linear" in name else "dive.data.FashionMNISTDataModule"
    assert compose_resolved(f"model={name}")["data"]["_target_"] == expected


def test_book_hyperparameters_reach_optimizer_and_trainer() -> None:
    linear, mlp = compose_resolved("model=linear_regression_scratch"), compose_resolved("model=mlp")
    for config, lr, max_epochs, batch_size in ((linear, 0.03, 3, 32), (mlp, 0.1, 10, 256)):
        assert config["optimizer"]["lr"] == lr
        assert config["trainer"]["max_epochs"] == max_epochs
        assert config["data"]["batch_size"] == batch_size
