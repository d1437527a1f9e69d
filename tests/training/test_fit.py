"""`from dive import train`: what the command line does, in the current process."""

import json
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from tests.short_runs import train_in

import dive
from dive import train
from dive.callbacks import TerminateOnNonFinite
from dive.errors import ConfigError, RunError, UserError
from dive.evaluation.evaluate import evaluate_run
from dive.runs import checkpoint_io
from dive.tasks.task import ClassificationTask
from dive.training.fit import TrainResult

ROOT = Path(__file__).parents[2]
SMALL = ["model=mlp", "data=garments", "data.num_train=256", "data.num_test=64", "data.val_size=64", "trainer=cpu"]
LEAN = [*SMALL, "callbacks=lean"]  # without images
SHORT = [*LEAN, "trainer.max_epochs=2", "optimizer.lr=0.2"]


@pytest.fixture(autouse=True)
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """A finished run, in the folder ``trained``."""
    return train_in(tmp_path_factory.mktemp("trained", numbered=False), *SHORT)


def test_train_returns_metrics_model_and_directory_of_a_recorded_run(trained: TrainResult) -> None:
    assert trained.directory.parent.parts[-3:] == ("trained", "outputs", "mlp")
    assert trained.metrics.keys() >= {"train/loss", "val/loss", "val/acc", "test/acc"}
    assert trained.final["val/acc"] <= trained.metrics["val/acc"]
    saved = json.loads((trained.directory / "result.json").read_text())
    assert saved["status"] == "finished"
    assert saved["metrics"] == trained.result["metrics"]
    assert (trained.directory / "command.txt").read_text().startswith("python train.py model=mlp data=garments")
    config = yaml.safe_load((trained.directory / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 0.2
    assert "hydra" not in config


def test_hydra_stays_uninitialized(trained: TrainResult) -> None:
    assert trained.result["epochs"] == 2
    assert not HydraConfig.initialized()
    assert not GlobalHydra().is_initialized()


def test_train_equals_the_command_line(
    trained: TrainResult,
    differences: Callable[..., list[str]],
    working_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *SHORT, f"hydra.run.dir={working_dir / 'run'}"])
    runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert not differences(working_dir / "run", trained.directory)


def test_the_returned_model_has_the_weights_of_the_best_epoch() -> None:
    trained = train([*SHORT, "optimizer.lr=1000", "callbacks.terminate_on_non_finite=null"])  # diverges
    assert not trained.model.training  # no dropout
    weights = {
        which: checkpoint_io.load_checkpoint(trained.directory / "checkpoints" / f"{which}.ckpt")["state_dict"]
        for which in ("best", "last")
    }
    for name, weight in trained.model.state_dict().items():
        assert torch.equal(weight, weights["best"][f"model.{name}"])
    houses = train(
        ["experiment=house_tiny", "trainer=cpu", "callbacks=lean"]
    )  # without a test split, whose evaluation would load them
    assert houses.result["best_epoch"] < houses.result["epochs"]
    best = checkpoint_io.load_checkpoint(houses.directory / "checkpoints" / "best.ckpt")["state_dict"]
    assert torch.equal(houses.model.net.weight, best["model.net.weight"])


AVERAGING = {
    "EMAWeightAveraging": ["+callbacks.averaging.decay=0.9"],
    "WeightAveraging": [],
    "StochasticWeightAveraging": ["+callbacks.averaging.swa_lrs=0.05", "+callbacks.averaging.swa_epoch_start=0.3"],
}


@pytest.mark.parametrize("callback", AVERAGING)
def test_the_test_is_of_the_weights_that_were_validated(callback: str) -> None:
    averaging = f"+callbacks.averaging._target_=pytorch_lightning.callbacks.{callback}"
    run = train([*SHORT, "trainer.max_epochs=3", averaging, *AVERAGING[callback]])
    for split in ("val", "test"):
        evaluate_run(run.directory, split=split)  # fails if a metric deviates
    best = checkpoint_io.load_checkpoint(run.directory / "checkpoints" / "best.ckpt")["state_dict"]
    assert all(torch.equal(weight, best[f"model.{name}"]) for name, weight in run.model.state_dict().items())


@pytest.mark.parametrize("interrupt", [None, "validation batch"])
def test_a_run_with_averaged_weights_is_resumed_exactly(
    interrupt: str | None, differences: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    averaging = "+callbacks.averaging._target_=pytorch_lightning.callbacks.EMAWeightAveraging"
    ema = [*LEAN, averaging, "+callbacks.averaging.decay=0.5", "data.batch_size=64", "trainer.max_epochs=3"]
    whole = train(ema)
    if interrupt is None:
        first = train([*ema, "trainer.max_epochs=2"]).directory
    else:
        first = Path("interrupted")

        def validation_step(task: Any, batch: Any, batch_idx: int) -> None:
            if task.trainer.global_step == 3 and not task.trainer.sanity_checking:
                os.kill(os.getpid(), signal.SIGTERM)
            original(task, batch, batch_idx)

        original = ClassificationTask.validation_step
        with monkeypatch.context() as patch:
            patch.setattr(ClassificationTask, "validation_step", validation_step)
            with pytest.raises(KeyboardInterrupt):
                train([*ema, f"hydra.run.dir={first}"])
    resumed = train([f"resume={first}", "trainer.max_epochs=3"])
    assert not differences(whole.directory, resumed.directory)


def test_train_resumes_a_run(trained: TrainResult, differences: Callable[..., list[str]]) -> None:
    first = train([*SHORT, "trainer.max_epochs=1"])
    resumed = train([f"resume={first.directory}", "trainer.max_epochs=2"])
    assert resumed.directory == first.directory
    assert resumed.result["epochs"] == 2
    assert not differences(trained.directory, first.directory)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["modl=mlp"], "modl: unknown; did you mean 'model'"),
        (["model=mpl"], "model=mpl: unknown; did you mean 'mlp'"),
        (["optimizer.lr=0.1,0.2"], "several values need a sweep"),
        (["optimizer.lr=-1"], "optimizer.lr=-1: must be a number in (0, inf)"),
        ("model=mlp", "overrides must be a list of strings, such as ['model=mlp'], got 'model=mlp'"),
        ([1], "overrides must be a list of strings, such as ['model=mlp'], got [1]"),
        (["-m", "seed=0,1"], "-m: only for the command line"),
        (["resume=nowhere"], "resume=nowhere: not a run directory"),
    ],
)
def test_mistakes_raise_the_errors_of_the_command_line_and_leave_no_files(
    overrides: Any, message: str, working_dir: Path
) -> None:
    with pytest.raises((ConfigError, RunError)) as error:
        train(overrides)
    assert message in str(error.value)
    assert isinstance(error.value, UserError)
    assert not (working_dir / "outputs").exists()


def test_an_interrupted_run_raises_keyboard_interrupt_and_can_be_resumed() -> None:
    def interrupt(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TerminateOnNonFinite, "on_train_epoch_end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(SHORT)
    (run,) = Path("outputs/mlp").iterdir()
    assert json.loads((run / "result.json").read_text())["status"] == "interrupted"
    assert train([f"resume={run}"]).result["epochs"] == 2


def test_unknown_attributes_of_the_package_raise() -> None:
    with pytest.raises(AttributeError, match="'dive' has no attribute 'trian'"):
        dive.trian  # noqa: B018
