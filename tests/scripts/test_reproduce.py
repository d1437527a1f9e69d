"""A run is run again from the command line."""

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
    """Run the script in an empty folder, and return its exit status, or what it says for one."""
    (tmp_path / "here").mkdir()

    def run(*arguments: object) -> int | str:
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        assert left.value.code is not None
        return left.value.code

    return run


def test_it_leaves_with_0_where_all_is_the_same_and_says_where_the_new_run_is(
    train: Callable[..., Any], call: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*LINEAR).directory
    assert call(run) == 0
    (again,) = (tmp_path / "here" / "outputs" / "reproduced").iterdir()
    assert f"again: {again}\nidentical: " in capsys.readouterr().out
    assert call(run, "--into", "there") == 0
    assert (tmp_path / "here" / "there" / "result.json").is_file()


def test_it_leaves_with_1_where_something_differs(train: Callable[..., Any], call: Callable[..., Any]) -> None:
    run = train(*LINEAR).directory
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(result | {"steps": 1}))
    assert call(run) == 1


def test_mistakes_are_one_line(train: Callable[..., Any], call: Callable[..., Any], tmp_path: Path) -> None:
    assert call(tmp_path / "nothing").startswith(f"error: {tmp_path / 'nothing'}: there is no run")
    run = train(*LINEAR).directory
    (tmp_path / "file").write_text("")
    told = call(run, "--into", tmp_path / "file" / "below")
    assert told == f"error: {tmp_path / 'file' / 'below'}: Not a directory"
