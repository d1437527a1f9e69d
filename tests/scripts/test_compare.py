"""scripts/compare.py."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread

SCRIPT = Path(__file__).parents[2] / "scripts" / "compare.py"
LINEAR = ("experiment=linear_regression", "trainer=cpu")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Run the script in an empty folder."""
    (tmp_path / "cwd").mkdir()

    def run(*arguments: object) -> None:
        monkeypatch.chdir(tmp_path / "cwd")
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


def test_table_and_figure_of_two_runs(
    train: Callable[..., Any], call: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [train(*LINEAR, f"optimizer.lr={lr}") for lr in (0.03, 0.01)]
    capsys.readouterr()
    call(*(run.directory for run in runs))
    out = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["optimizer.lr", "0.03", "0.01"] in cells
    assert ["status", "finished", "finished"] in cells
    losses = [f"{run.result['metrics']['best']['val/loss']:.4g}" for run in runs]
    assert ["best val/loss", *losses] in cells
    assert "optimizer.momentum" not in out
    assert out.endswith("curves: compare.png\n")
    assert imread(tmp_path / "cwd" / "compare.png").std() > 0
    call(*(run.directory for run in runs), "--picture", tmp_path / "mine.svg")
    assert (tmp_path / "mine.svg").read_text().startswith("<?xml")


def test_runs_without_curves_make_no_figure(
    call: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    call(tmp_path / "a", tmp_path / "b")
    assert "no curves: none of these runs has completed an epoch" in capsys.readouterr().out
    assert not list((tmp_path / "cwd").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing", "."], "nothing: neither a run nor a sweep"),
        (["x", "--picture", "x.mp3"], "x.mp3: must end in .png, .pdf, .svg"),
        (["x", "--picture", "nowhere/x.png"], "nowhere/x.png: its directory does not exist"),
    ],
)
def test_errors_are_one_line(arguments: list[str], message: str, call: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match=f"^error: .*{message}") as exit_info:
        call(*arguments)
    assert "\n" not in str(exit_info.value)
