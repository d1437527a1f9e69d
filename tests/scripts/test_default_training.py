"""What `make train` runs: the main job, on drawn garments where the real set cannot be had."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from dive.data import archive_files, fashion_mnist_files
from dive.errors import DataError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "default_training.py"


class Started(SimpleNamespace):
    """What the script did: the command that it ran, what that returned, and what the script ended with."""

    command: list[str]
    code: object


@pytest.fixture
def main_job(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Started]:
    """Run the script as a program in this process; what it would run is only written down."""

    def run(*arguments: str, returncode: int = 0) -> Started:
        commands: list[list[str]] = []

        def pretend(command: list[str], **settings: object) -> SimpleNamespace:
            commands.append(command)
            return SimpleNamespace(returncode=returncode)

        monkeypatch.setattr(subprocess, "run", pretend)
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        (command,) = commands
        return Started(command=command, code=caught.value.code)

    return run


def pretend_data(monkeypatch: pytest.MonkeyPatch, error: DataError | None = None) -> list[Path]:
    """All files are there, or else this error; the folders that were asked for."""
    asked = []

    def ensure(folder: Path, mirror: str, timeout: float) -> None:
        asked.append(folder)
        if error:
            raise error

    monkeypatch.setattr(fashion_mnist_files, "ensure", ensure)
    return asked


def test_with_the_real_set_it_trains_on_that_and_says_nothing(
    main_job: Callable[..., Started], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_data(monkeypatch)
    assert main_job().command == [sys.executable, os.path.relpath(ROOT / "train.py"), "model=mlp"]
    assert capsys.readouterr() == ("", "")


def test_without_it_it_trains_on_garments_and_says_why_without_advice(
    main_job: Callable[..., Started], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_data(monkeypatch, DataError(f"There is nothing. {archive_files.HELP}"))
    assert main_job().command[2:] == ["model=mlp", "data=garments"]
    assert capsys.readouterr() == ("There is nothing. Training on drawn garments instead (data=garments).\n", "")


@pytest.mark.parametrize("error", [None, DataError("There is nothing.")], ids=["real set", "garments"])
def test_arguments_go_on_behind_its_own_so_that_they_win(
    error: DataError | None, main_job: Callable[..., Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_data(monkeypatch, error)
    words = ["trainer.max_epochs=2", "model.num_hiddens=[64, 64]"]
    assert main_job(*words).command[-2:] == words


@pytest.mark.parametrize("returncode", [0, 1, 130])
def test_it_ends_as_training_ends(
    returncode: int, main_job: Callable[..., Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_data(monkeypatch)
    assert main_job(returncode=returncode).code == returncode


@pytest.mark.parametrize("name", [None, "elsewhere"])
def test_it_looks_where_training_looks(
    name: str | None, main_job: Callable[..., Started], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIVE_DATA", raising=False)
    if name:
        monkeypatch.setenv("DIVE_DATA", name)
    asked = pretend_data(monkeypatch)
    main_job()
    assert asked == [tmp_path / (name or "data") / "FashionMNIST" / "raw"]


def test_without_data_and_network_it_trains_on_garments_and_one_line_says_why(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"  # a proxy that nobody runs: offline wherever the tests run
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    few = ("data.num_train=2500", "data.num_test=500", "data.val_size=500", "trainer.max_epochs=1", "trainer=cpu")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *few, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=tmp_path,
        env=kept | {"DIVE_DATA": str(tmp_path / "data"), "http_proxy": nobody, "https_proxy": nobody},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *others = done.stdout.splitlines()
    assert first.startswith(f"Fashion-MNIST is not in {tmp_path}/data/FashionMNIST/raw: ")
    assert "refused" in first
    assert first.endswith(" Training on drawn garments instead (data=garments).")
    assert not any("Fashion-MNIST" in line or "instead" in line for line in others)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["model"], result["data"]) == ("finished", "MLP", "garments")
    assert (result["epochs"], result["steps"]) == (1, 8)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["num_train"] == 2500
