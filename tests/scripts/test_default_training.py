"""scripts/default_training.py, run by `make train`: Fashion-MNIST, or synthetic garments if it is unavailable."""

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


class Call(SimpleNamespace):
    """The command that the script ran, and the exit status of the script."""

    command: list[str]
    code: object


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Call]:
    """Run the script in this process; the command that it would run is only recorded."""

    def run(*arguments: str, returncode: int = 0) -> Call:
        commands: list[list[str]] = []

        def record(command: list[str], **settings: object) -> SimpleNamespace:
            commands.append(command)
            return SimpleNamespace(returncode=returncode)

        monkeypatch.setattr(subprocess, "run", record)
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        (command,) = commands
        return Call(command=command, code=exit_info.value.code)

    return run


def fake_download(monkeypatch: pytest.MonkeyPatch, error: DataError | None = None) -> list[Path]:
    """Replace the download: it finds all files, or raises an error. Return the list of requested folders."""
    folders = []

    def ensure_downloaded(folder: Path, mirror: str, timeout: float) -> None:
        folders.append(folder)
        if error:
            raise error

    monkeypatch.setattr(fashion_mnist_files, "ensure_downloaded", ensure_downloaded)
    return folders


def test_trains_on_fashion_mnist_without_output(
    call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_download(monkeypatch)
    assert call().command == [sys.executable, os.path.relpath(ROOT / "train.py"), "model=mlp"]
    assert capsys.readouterr() == ("", "")


def test_falls_back_to_garments_and_prints_the_reason(
    call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_download(monkeypatch, DataError(f"There is nothing. {archive_files.HELP}"))
    assert call().command[2:] == ["model=mlp", "data=garments"]
    assert capsys.readouterr() == (
        "There is nothing. Training on synthetic garments instead (data=garments).\n",
        "",
    )


@pytest.mark.parametrize("error", [None, DataError("There is nothing.")], ids=["fashion_mnist", "garments"])
def test_arguments_come_last_and_so_take_precedence(
    error: DataError | None, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_download(monkeypatch, error)
    words = ["trainer.max_epochs=2", "model.num_hiddens=[64, 64]"]
    assert call(*words).command[-2:] == words


@pytest.mark.parametrize("returncode", [0, 1, 130])
def test_exit_status_is_that_of_training(
    returncode: int, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_download(monkeypatch)
    assert call(returncode=returncode).code == returncode


@pytest.mark.parametrize("name", [None, "other"])
def test_data_folder_is_that_of_training(
    name: str | None, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIVE_DATA", raising=False)
    if name:
        monkeypatch.setenv("DIVE_DATA", name)
    folders = fake_download(monkeypatch)
    call()
    assert folders == [tmp_path / (name or "data") / "FashionMNIST" / "raw"]


@pytest.mark.slow
def test_offline_without_data_trains_on_garments_and_prints_one_line(tmp_path: Path) -> None:
    proxy = "http://127.0.0.1:9"  # nothing listens there, so every download fails
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    few = ("data.num_train=2500", "data.num_test=500", "data.val_size=500", "trainer.max_epochs=1", "trainer=cpu")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *few, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=tmp_path,
        env=environment | {"DIVE_DATA": str(tmp_path / "data"), "http_proxy": proxy, "https_proxy": proxy},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, *rest = done.stdout.splitlines()
    assert first.startswith(f"Fashion-MNIST is not in {tmp_path}/data/FashionMNIST/raw: ")
    assert "refused" in first
    assert first.endswith(" Training on synthetic garments instead (data=garments).")
    assert not any("Fashion-MNIST" in line or "instead" in line for line in rest)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["model"], result["data"]) == ("finished", "MLP", "garments")
    assert (result["epochs"], result["steps"]) == (1, 8)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["data"]["num_train"] == 2500
