"""Every YAML under conf/ composes, builds and takes a step."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml

import dive.data
from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR
from dive.training import instantiate

SMALL_IMAGES = ("data=garments", "data.num_train=64", "data.num_test=32", "data.val_size=32", "data.batch_size=32")


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def groups() -> list[str]:
    return sorted(
        path.name for path in CONFIG_DIR.iterdir() if path.is_dir() and path.name not in ("hydra", "task")
    )


CHOICES = [(group, name) for group in groups() for name in names(group)]
CLASSES = {f"dive.data.{name}": vars(dive.data)[name] for name in dive.data.__all__}


def small(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Where Fashion-MNIST would be loaded, draw a few garments instead."""
    config = compose_resolved(*overrides)
    return (
        (*overrides, *SMALL_IMAGES)
        if config["data"]["_target_"] == "dive.data.FashionMNISTDataModule"
        else overrides
    )


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=[f"{group}={name}" for group, name in CHOICES])
def test_every_config_composes_builds_and_takes_a_step(
    group: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow's store is made here
    overrides: tuple[str, ...] = (f"{group}={name}",)
    if group == "logger" and name in ("mlflow", "wandb"):
        pytest.importorskip(name, reason="pip install -e '.[loggers]'")
    if group == "data" and CLASSES[compose_resolved(*overrides)["data"]["_target_"]].targets == "numbers":
        overrides = (*overrides, "model=linear_regression")
    config = compose_resolved(*small(overrides) if group != "data" else overrides)
    pl.seed_everything(0, verbose=False)
    if name == "fashion_mnist":
        return  # composed and checked; its loading is tested with the real files
    data = instantiate.instantiate_datamodule(config)
    task = instantiate.instantiate_task(config, data)
    before = [p.detach().clone() for p in task.parameters()]
    if group == "trainer" and name in ("gpu", "mps", "ddp"):
        return  # needs a device, or several processes: tests/test_train.py runs ddp
    config["trainer"] |= {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"}
    trainer = instantiate.instantiate_trainer(config, tmp_path)
    trainer.fit(task, data)
    assert trainer.global_step == 1
    assert any(not torch.equal(p, old) for p, old in zip(task.parameters(), before, strict=True))


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


@pytest.mark.parametrize(
    "path", sorted(CONFIG_DIR.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIG_DIR))
)
def test_every_config_says_what_it_is_and_stays_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert any(line.startswith("# ") and not line.startswith("# @package") for line in lines[:2])
    assert len(lines) <= 36


@pytest.mark.parametrize("name", names("experiment"))
def test_every_experiment_states_command_cost_and_score(name: str) -> None:
    header = (CONFIG_DIR / "experiment" / f"{name}.yaml").read_text()
    assert f"#   command   python train.py experiment={name}\n" in header
    assert "#   cost      " in header
    assert "#   expected  " in header


@pytest.mark.parametrize("name", names("model"))
def test_a_model_brings_its_data_and_another_can_be_chosen(name: str) -> None:
    own = compose_resolved(f"model={name}")["data"]["_target_"]
    assert own == ("dive.data.SyntheticRegression" if "linear" in name else "dive.data.FashionMNISTDataModule")
    assert compose_resolved(f"model={name}", "data=garments")["data"]["_target_"] == "dive.data.SyntheticGarments"


def test_a_resized_set_needs_no_second_edit() -> None:
    config = compose_resolved("model=mlp", *SMALL_IMAGES, "data.resize=[32,32]")
    task = instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))
    assert task(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_the_book_s_numbers_reach_optimizer_and_trainer() -> None:
    linear, mlp = compose_resolved("model=linear_regression_scratch"), compose_resolved("model=mlp")
    assert (linear["optimizer"]["lr"], linear["trainer"]["max_epochs"], linear["data"]["batch_size"]) == (
        0.03,
        3,
        32,
    )
    assert (mlp["optimizer"]["lr"], mlp["trainer"]["max_epochs"], mlp["data"]["batch_size"]) == (0.1, 10, 256)


def test_adam_keeps_its_own_learning_rate() -> None:
    assert compose_resolved("model=mlp", "optimizer=adamw")["optimizer"]["lr"] == 0.001
