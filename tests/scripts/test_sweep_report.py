"""The report of a sweep from the command line."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

SCRIPT = Path(__file__).parents[2] / "scripts" / "sweep_report.py"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run the script as a program in this process."""

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[[int], Path]:
    """Write a sweep over seeds, every seventh of which failed."""

    def written(count: int) -> Path:
        directory = tmp_path / "multirun" / "seeds"
        for seed in range(count):
            run = directory / f"seed={seed}"
            run.mkdir(parents=True)
            (run / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "monitor": "val/loss"}))
            score = (seed + 1) / 1024
            (run / "metrics.csv").write_text(f"step,epoch,val/loss\n0,0,1.5\n1,1,{score}\n")
            outcome = {
                "status": "finished",
                "monitor": "val/loss",
                "score": score,
                "best_epoch": 2,
                "seconds": 3.5,
            }
            failed = {"status": "failed", "error": "ValueError: no"}
            (run / "result.json").write_text(json.dumps(failed if seed % 7 == 3 else outcome))
        jobs = {f"seed={seed}": {"number": seed, "words": ["model=mlp", f"seed={seed}"]} for seed in range(count)}
        (directory / "sweep.json").write_text(json.dumps({"varied": ["seed"], "jobs": jobs}))
        return directory

    return written


def test_a_sweep_is_reported_on_the_terminal_and_in_files(
    call: Callable[..., None], sweep: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = sweep(5)
    call(str(directory))
    out = capsys.readouterr().out
    assert "5 jobs: 4 finished, 1 failed" in out
    assert out.splitlines()[-2:] == [
        "best val/loss 0.0009766: python train.py model=mlp seed=0",
        f"report: {directory / 'report.html'}",
    ]
    assert {path.name for path in directory.iterdir() if path.is_file()} == {
        *("sweep.json", "report.csv", "report.md", "report.html")
    }


def test_a_sweep_can_be_named_from_where_one_is(
    call: Callable[..., None],
    sweep: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = sweep(1)
    monkeypatch.chdir(directory.parent)
    call("seeds/")
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {directory / 'report.html'}"


@pytest.mark.parametrize("content", [None, "{"], ids=["no sweep", "damaged"])
def test_a_folder_that_is_no_sweep_is_told_in_a_line(
    content: str | None, call: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as caught:
        call(str(tmp_path))
    told = caught.value.code  # a text: it goes to stderr, and the status is 1
    assert isinstance(told, str)
    assert told.startswith(f"error: {tmp_path}")
    assert "\n" not in told
    assert capsys.readouterr().out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_without_a_folder_the_usage_is_told(call: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call()
    assert caught.value.code == 2
    assert "sweep" in capsys.readouterr().err


def test_a_thousand_jobs_make_a_report(
    call: Callable[..., None], sweep: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = sweep(1000)
    call(str(directory))
    failed = len([seed for seed in range(1000) if seed % 7 == 3])
    assert f"1000 jobs: {1000 - failed} finished, {failed} failed" in capsys.readouterr().out
    frame = pd.read_csv(directory / "report.csv")
    assert sorted(frame["seed"]) == list(range(1000))
    assert frame["seed"].tolist()[:4] == [0, 1, 2, 4]
    assert frame["score"].notna().sum() == 1000 - failed
    for name in ("report.md", "report.html"):
        text = (directory / name).read_text()
        assert all(f"seed={seed}" in text for seed in range(1000))
    assert (directory / "report.html").read_text().count("<tr class=") >= 1000
