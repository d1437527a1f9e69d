"""scripts/sweep_report.py."""

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
    """Run the script in this process."""

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    return run


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[[int], Path]:
    """Write a sweep over seeds in which every seventh job failed."""

    def write(count: int) -> Path:
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
        jobs = {
            f"seed={seed}": {"number": seed, "overrides": ["model=mlp", f"seed={seed}"]} for seed in range(count)
        }
        (directory / "sweep.json").write_text(json.dumps({"varied": ["seed"], "jobs": jobs}))
        return directory

    return write


def test_report_is_printed_and_written(
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


def test_sweep_directory_may_be_relative(
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
def test_other_folder_is_a_one_line_error(
    content: str | None, call: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as exit_info:
        call(str(tmp_path))
    message = exit_info.value.code  # printed to stderr; the exit status is 1
    assert isinstance(message, str)
    assert message.startswith(f"error: {tmp_path}")
    assert "\n" not in message
    assert capsys.readouterr().out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_missing_argument_prints_the_usage(call: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        call()
    assert exit_info.value.code == 2
    assert "sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_report_of_a_thousand_jobs(
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
