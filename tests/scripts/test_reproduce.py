"""scripts/reproduce.py."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "reproduce.py"
LINEAR = ("experiment=linear_regression", "trainer=cpu")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int | str]:
    """Run the script in an empty folder, and return its exit status or error message."""
    (tmp_path / "cwd").mkdir()

    def run(*arguments: object) -> int | str:
        monkeypatch.chdir(tmp_path / "cwd")
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        assert exit_info.value.code is not None
        return exit_info.value.code

    return run


def test_status_is_0_for_an_identical_run_and_its_directory_is_printed(
    train: Callable[..., Any], call: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*LINEAR).directory
    assert call(run) == 0
    (again,) = (tmp_path / "cwd" / "outputs" / "reproduced").iterdir()
    assert f"reproduction: {again}\nidentical: " in capsys.readouterr().out
    assert call(run, "--into", "there") == 0
    assert (tmp_path / "cwd" / "there" / "result.json").is_file()


def test_status_is_1_for_a_different_result(train: Callable[..., Any], call: Callable[..., Any]) -> None:
    run = train(*LINEAR).directory
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"steps": 1}))
    assert call(run) == 1


def test_errors_are_one_line(train: Callable[..., Any], call: Callable[..., Any], tmp_path: Path) -> None:
    assert call(tmp_path / "nothing").startswith(f"error: {tmp_path / 'nothing'}: not a run directory")
    run = train(*LINEAR).directory
    (tmp_path / "file").write_text("")
    message = call(run, "--into", tmp_path / "file" / "below")
    assert message == f"error: {tmp_path / 'file' / 'below'}: Not a directory"
