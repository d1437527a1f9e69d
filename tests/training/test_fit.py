"""`from dive import train`: what the command line does, in this process."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import dive
from dive import train
from dive.callbacks import TerminateOnNonFinite
from dive.errors import ConfigError, RunError, UserError
from dive.runs import checkpoint_io

SMALL = ["model=mlp", "data=garments", "data.num_train=256", "data.num_test=64", "data.val_size=64", "trainer=cpu"]
SHORT = [*SMALL, "trainer.max_epochs=2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_gives_metrics_model_and_path_and_records_the_run() -> None:
    trained = train([*SHORT, "optimizer.lr=0.3"])
    assert trained.directory.parent == Path.cwd() / "outputs" / "mlp"
    assert trained.metrics.keys() >= {"train/loss", "val/loss", "val/acc", "test/acc"}
    assert trained.final["val/acc"] <= trained.metrics["val/acc"]
    recorded = json.loads((trained.directory / "result.json").read_text())
    assert recorded["status"] == "finished"
    assert recorded["metrics"] == trained.result["metrics"]
    assert (trained.directory / "command.txt").read_text().startswith("python train.py model=mlp data=garments")
    config = yaml.safe_load((trained.directory / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 0.3
    assert "hydra" not in config


def test_it_is_the_run_of_the_command_line(
    train: Callable[..., Any], differences: Callable[..., list[str]]
) -> None:
    one = train(*SHORT, "callbacks=default")
    other = dive.train(SHORT)
    assert not differences(one.directory, other.directory)


def test_its_model_has_the_weights_of_the_best_epoch() -> None:
    trained = train([*SHORT, "optimizer.lr=1000", "callbacks.terminate_on_non_finite=null"])  # from bad to worse
    assert not trained.model.training  # dropout would blur what it says
    weights = {
        which: checkpoint_io.load_checkpoint(trained.directory / "checkpoints" / f"{which}.ckpt")["state_dict"]
        for which in ("best", "last")
    }
    for name, weight in trained.model.state_dict().items():
        assert torch.equal(weight, weights["best"][f"model.{name}"])
    houses = train(["experiment=house_tiny", "trainer=cpu"])  # has no test, for which they would be loaded
    assert houses.result["best_epoch"] < houses.result["epochs"]
    best = checkpoint_io.load_checkpoint(houses.directory / "checkpoints" / "best.ckpt")["state_dict"]
    assert torch.equal(houses.model.net.weight, best["model.net.weight"])


def test_hydra_is_left_as_it_was() -> None:
    train(SHORT)
    assert not HydraConfig.initialized()
    assert not GlobalHydra().is_initialized()


def test_it_goes_on_with_a_run(differences: Callable[..., list[str]]) -> None:
    whole = train([*SMALL, "trainer.max_epochs=3"])
    part = train(SHORT)
    again = train([f"resume={part.directory}", "trainer.max_epochs=3"])
    assert again.directory == part.directory
    assert again.result["epochs"] == 3
    assert not differences(whole.directory, part.directory)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["modl=mlp"], "modl: unknown; did you mean 'model'"),
        (["model=mpl"], "model=mpl: unknown; did you mean 'mlp'"),
        (["optimizer.lr=0.1,0.2"], "several values need a sweep"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: must be a number in (0, inf)"),
        ("model=mlp", "overrides must be a list of texts, such as ['model=mlp'], got 'model=mlp'"),
        ([1], "overrides must be a list of texts, such as ['model=mlp'], got [1]"),
        (["-m", "seed=0,1"], "-m: is for the command line"),
        (["resume=nowhere"], "resume=nowhere: not a run directory"),
    ],
)
def test_mistakes_are_told_as_on_the_command_line_and_nothing_is_left(
    overrides: Any, says: str, folder: Path
) -> None:
    with pytest.raises((ConfigError, RunError)) as told:
        train(overrides)
    assert says in str(told.value)
    assert isinstance(told.value, UserError)
    assert not (folder / "outputs").exists()


def test_an_interruption_is_a_keyboard_interrupt_and_leaves_what_to_go_on_from() -> None:
    def interrupt(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TerminateOnNonFinite, "on_train_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(SHORT)
    (left,) = Path("outputs/mlp").iterdir()
    assert json.loads((left / "result.json").read_text())["status"] == "interrupted"
    assert train([f"resume={left}"]).result["epochs"] == 2


def test_dive_itself_has_nothing_else_to_import() -> None:
    with pytest.raises(AttributeError, match="'dive' has no attribute 'trian'"):
        dive.trian  # noqa: B018  # to ask is enough
