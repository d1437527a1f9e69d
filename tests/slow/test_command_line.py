"""train.py as a process of its own: one-line errors, tracebacks on request, and which modules are imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dive import loggers

ROOT = Path(__file__).parents[2]
Process = subprocess.CompletedProcess[str]


def train_py(tmp_path: Path, *arguments: str, python: tuple[str, ...] = (), **environment: str) -> Process:
    """Run train.py with options for Python."""
    inherited = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    return subprocess.run(
        [sys.executable, *python, "train.py", f"hydra.run.dir={tmp_path / 'run'}", *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_mistake_is_one_line_and_leaves_no_directory(tmp_path: Path) -> None:
    done = train_py(tmp_path, "optimizer.lrr=1")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("error: optimizer.lrr: unknown; did you mean 'lr'? Choose from ")
    assert not (tmp_path / "run").exists()


def test_full_error_prints_the_traceback(tmp_path: Path) -> None:
    done = train_py(tmp_path, "model=mpl", HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert "MissingConfigException" in done.stderr


def imported(done: Process) -> set[str]:
    """The modules that a process imported, by ``-X importtime``."""
    return {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
    }


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--cfg", "job"), "_target_: dive.models.MLP"),
        (("--help",), "model: linear_"),
        (("--info", "config"), "_target_: dive.models.MLP"),
        (("query=bash", "-sc"), "model=mlp"),
    ],
)
def test_help_and_completion_do_not_import_torch(arguments: tuple[str, ...], printed: str, tmp_path: Path) -> None:
    done = train_py(tmp_path, *arguments, python=("-X", "importtime"), COMP_LINE="python train.py model=ml")
    assert done.returncode == 0
    assert printed in done.stdout
    assert {"dive.cli", "hydra"} <= imported(done)
    assert {"torch", "pytorch_lightning", "numpy", "dive.training.instantiate"}.isdisjoint(imported(done))


def test_training_does_not_import_unused_packages(tmp_path: Path) -> None:
    overrides = ("model=linear_regression", "trainer=cpu", "trainer.max_epochs=1")
    done = train_py(tmp_path, *overrides, python=("-X", "importtime"))
    assert done.returncode == 0
    assert {"torch", "pytorch_lightning", "tensorboard"} <= imported(done)
    unused = {"pandas", "torchvision", "scipy", "torchmetrics.functional"}
    compiler = {"torch._dynamo.eval_frame", "torch._inductor", "torch.distributed.tensor", "sympy"}
    optional = {"mlflow", "wandb"}
    assert (unused | compiler | optional).isdisjoint(imported(done))
    assert {"MLFlowLogger", "WandbLogger"} <= set(loggers.__all__)
