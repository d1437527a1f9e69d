"""Every YAML file in conf/ composes, builds and takes a training step."""

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from dive.config.allowlist import resolve_target
from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR
from dive.runs.record import Config
from dive.training import instantiate

SMALL_IMAGES = ("data=garments", "data.num_train=64", "data.num_test=32", "data.val_size=32", "data.batch_size=32")


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml"))


def groups() -> list[str]:
    return sorted(
        path.name for path in CONFIG_DIR.iterdir() if path.is_dir() and path.name not in ("hydra", "task")
    )


CHOICES = [(group, name) for group in groups() for name in names(group)]


def small_images(config: Config) -> Config:
    """Replace Fashion-MNIST by a few synthetic images."""
    if config["data"]["_target_"] == "dive.data.FashionMNISTDataModule":
        config["data"] = compose_resolved("model=mlp", *SMALL_IMAGES)["data"]
    return config


@pytest.mark.parametrize(("group", "name"), CHOICES, ids=[f"{group}={name}" for group, name in CHOICES])
def test_every_choice_composes_and_trains_for_one_step(
    group: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow creates its store here
    overrides: tuple[str, ...] = (f"{group}={name}",)
    if group == "logger" and name in ("mlflow", "wandb"):
        pytest.importorskip(name, reason="pip install -e '.[loggers]'")
    if group == "data":
        data_class = resolve_target(compose_resolved(*overrides)["data"]["_target_"])
        if getattr(data_class, "targets", "classes") == "numbers":
            overrides = (*overrides, "model=linear_regression")
    if group not in ("callbacks", "experiment"):
        overrides = ("callbacks=lean", *overrides)  # drawing takes longer than a step
    config = compose_resolved(*overrides)
    if name == "fashion_mnist" or group in ("launcher", "sweeper"):
        return  # composed and validated; loading the real files and running sweeps have their own tests
    config = small_images(config)
    pl.seed_everything(0, verbose=False)
    data = instantiate.instantiate_datamodule(config)
    task = instantiate.instantiate_task(config, data)
    before = [p.detach().clone() for p in task.parameters()]
    if group == "trainer" and name in ("gpu", "mps", "ddp"):
        return  # needs a device or several processes; tests/test_train.py runs ddp
    config["trainer"] |= {"max_epochs": 1, "limit_train_batches": 1, "accelerator": "cpu"}
    trainer = instantiate.instantiate_trainer(config, tmp_path)
    trainer.fit(task, data)
    assert trainer.global_step == 1
    assert any(not torch.equal(p, old) for p, old in zip(task.parameters(), before, strict=True))


@pytest.mark.parametrize("name", names("model"))
def test_model_selects_data_that_can_be_overridden(name: str) -> None:
    assert compose_resolved(f"model={name}")["data"]["_target_"]
    assert compose_resolved(f"model={name}", "data=garments")["data"]["_target_"] == "dive.data.SyntheticGarments"


def test_resize_needs_no_second_edit() -> None:
    config = compose_resolved("model=mlp", *SMALL_IMAGES, "data.resize=[32,32]")
    task = instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))
    assert task(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


def test_adam_and_adamw_have_their_own_learning_rate() -> None:
    for name, target in (("adam", "torch.optim.Adam"), ("adamw", "torch.optim.AdamW")):
        optimizer = compose_resolved("model=mlp", f"optimizer={name}")["optimizer"]
        assert (optimizer["_target_"], optimizer["lr"]) == (target, 0.001)
