"""The sweep session of a command: created once, reported and closed however the command ends."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dive.errors import ConfigError, RunError
from dive.runs.lock import is_locked
from dive.sweeps import preflight
from dive.sweeps.active_session import get_session, report_on_exit

FINISHED = {"status": "finished", "monitor": "val/acc", "score": 0.5}
FAILED = {"status": "failed", "error": "ValueError: no"}
JOBS: list[tuple[int, Sequence[str], dict[str, Any]]] = [(i, [f"seed={i}"], {"seed": i}) for i in range(2)]


@pytest.fixture(autouse=True)
def skip_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the validation of jobs, which starts a subprocess."""
    monkeypatch.setattr(preflight, "validate_jobs", lambda _: None)


def run_command(directory: Path, *outcomes: Mapping[str, Any], error: BaseException | None = None) -> None:
    """Run two jobs with the given results, then raise the error, if any."""
    with report_on_exit():
        planned = get_session(directory, "val/acc", "auto").plan_jobs(JOBS, ["seed"], "locally")
        for plan, outcome in zip(planned, outcomes, strict=False):
            if plan.action != "skip":
                plan.directory.mkdir(parents=True)
                (plan.directory / "config.yaml").write_text(json.dumps(plan.config))
                (plan.directory / "result.json").write_text(json.dumps(outcome))
                get_session(directory, "val/acc", "auto").on_job_end(plan)
        if error is not None:
            raise error


def test_sweep_is_reported_and_unlocked_at_the_end(sweep_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(sweep_dir, FINISHED, FINISHED)
    assert not is_locked(sweep_dir)
    out = capsys.readouterr().out
    assert "2 jobs: 2 finished" in out
    assert "best val/acc 0.5: python train.py seed=0" in out
    assert "to resume" not in out
    assert {"report.csv", "report.md", "report.html"} <= {path.name for path in sweep_dir.iterdir()}


def test_each_command_has_its_own_session(sweep_dir: Path) -> None:
    with report_on_exit():
        first = get_session(sweep_dir, "val/acc", "auto")
        assert get_session(sweep_dir, "val/acc", "auto") is first
        assert is_locked(sweep_dir)
    assert not is_locked(sweep_dir)
    with report_on_exit():
        assert get_session(sweep_dir, "val/acc", "auto") is not first


def test_unfinished_jobs_make_the_command_fail(sweep_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match="1 of 2 jobs did not finish"):
        run_command(sweep_dir, FINISHED)
    assert "to resume, rerun: python " in capsys.readouterr().out


def test_failed_jobs_make_the_command_fail_with_a_line_each(sweep_dir: Path) -> None:
    with pytest.raises(RunError) as caught:
        run_command(sweep_dir, FINISHED, FAILED)
    assert str(caught.value) == (
        "1 of 2 jobs failed:\n  seed=1: ValueError: no\nto rerun the first one: python train.py seed=1"
    )
    assert not is_locked(sweep_dir)
    assert (sweep_dir / "report.html").is_file()


def test_interrupted_command_prints_report_and_how_to_resume(
    sweep_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "sweep=lr", "note='a b'"])
    with pytest.raises(KeyboardInterrupt):
        run_command(sweep_dir, FAILED, error=KeyboardInterrupt())
    assert not is_locked(sweep_dir)
    out = capsys.readouterr().out
    assert """to resume, rerun: python train.py -m seed=0,1 sweep=lr 'note='"'"'a b'"'"''""" in out
    assert "1 failed, 1 not started" in (sweep_dir / "report.md").read_text()


def test_invalid_sweep_is_unlocked_and_not_reported(sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(configs: object) -> None:
        raise ConfigError("seed=-1: no")

    monkeypatch.setattr(preflight, "validate_jobs", reject)
    with pytest.raises(ConfigError, match="seed=-1: no"):
        run_command(sweep_dir)
    assert not is_locked(sweep_dir)
    assert [path.name for path in sweep_dir.iterdir() if path.name != ".lock"] == []
    with pytest.raises(ConfigError, match="seed=-1: no"):  # in a new session
        run_command(sweep_dir)


def test_command_without_a_sweep_prints_no_report(capsys: pytest.CaptureFixture[str]) -> None:
    with report_on_exit():
        pass
    assert capsys.readouterr() == ("", "")


def test_invalid_search_raises_the_validation_error(sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(*_: Any) -> None:
        raise ConfigError("lr=-1: no")

    monkeypatch.setattr(preflight, "validate_jobs", reject)

    def search() -> None:
        with report_on_exit():
            get_session(sweep_dir, "val/acc", "auto").start_search(5)
            get_session(sweep_dir, "val/acc", "auto").plan_jobs(
                [(0, ["seed=0"], {"seed": 0})], ["seed"], "locally"
            )

    with pytest.raises(ConfigError, match="lr=-1: no"):
        search()
