"""The sweep of a command: one session, reported and closed however the command ends."""

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
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of what is to be run, which needs a process."""
    monkeypatch.setattr(preflight, "check", lambda _: None)


def command(directory: Path, *outcomes: Mapping[str, Any], then: BaseException | None = None) -> None:
    """A command that runs two jobs, with these results, and ends with an error, or well."""
    with report_on_exit():
        steps = get_session(directory, "val/acc").prepare(JOBS, ["seed"], "by hand")
        for step, outcome in zip(steps, outcomes, strict=False):
            if step.action != "skip":
                step.job.directory.mkdir(parents=True)
                (step.job.directory / "config.yaml").write_text(json.dumps(step.job.config))
                (step.job.directory / "result.json").write_text(json.dumps(outcome))
                get_session(directory, "val/acc").ended(step)
        if then is not None:
            raise then


def test_a_command_s_sweep_is_reported_and_closed_at_its_end(
    sweep_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(sweep_dir, FINISHED, FINISHED)
    assert not is_locked(sweep_dir)
    out = capsys.readouterr().out
    assert "2 jobs: 2 finished" in out
    assert "best val/acc 0.5: python train.py seed=0" in out
    assert "to go on" not in out
    assert {"report.csv", "report.md", "report.html"} <= {path.name for path in sweep_dir.iterdir()}


def test_a_command_has_one_session_and_the_next_another(sweep_dir: Path) -> None:
    with report_on_exit():
        first = get_session(sweep_dir, "val/acc")
        assert get_session(sweep_dir, "val/acc") is first
        assert is_locked(sweep_dir)
    assert not is_locked(sweep_dir)
    with report_on_exit():
        assert get_session(sweep_dir, "val/acc") is not first


def test_jobs_that_have_not_finished_make_the_command_fail(
    sweep_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RunError, match="1 of 2 jobs have not finished"):
        command(sweep_dir, FINISHED)
    assert "to go on, say it again: python " in capsys.readouterr().out


def test_failed_jobs_make_the_command_fail_with_a_line_each(sweep_dir: Path) -> None:
    with pytest.raises(RunError) as caught:
        command(sweep_dir, FINISHED, FAILED)
    assert str(caught.value) == (
        "1 of 2 jobs failed:\n  seed=1: ValueError: no\nto repeat the first alone: python train.py seed=1"
    )
    assert not is_locked(sweep_dir)
    assert (sweep_dir / "report.html").is_file()


def test_a_command_that_is_interrupted_reports_and_says_how_to_go_on(
    sweep_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=0,1", "sweep=lr", "note='a b'"])
    with pytest.raises(KeyboardInterrupt):
        command(sweep_dir, FAILED, then=KeyboardInterrupt())
    assert not is_locked(sweep_dir)
    out = capsys.readouterr().out
    assert """to go on, say it again: python train.py -m seed=0,1 sweep=lr 'note='"'"'a b'"'"''""" in out
    assert "1 failed, 1 missing" in (sweep_dir / "report.md").read_text()


def test_a_sweep_that_was_refused_is_closed_and_not_reported(
    sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(configs: object) -> None:
        raise ConfigError("seed=-1: no")

    monkeypatch.setattr(preflight, "check", refuse)
    with pytest.raises(ConfigError, match="seed=-1: no"):
        command(sweep_dir)
    assert not is_locked(sweep_dir)
    assert [path.name for path in sweep_dir.iterdir() if path.name != ".lock"] == []
    with pytest.raises(ConfigError, match="seed=-1: no"):  # the session is not that of before
        command(sweep_dir)


def test_a_command_without_a_sweep_reports_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with report_on_exit():
        pass
    assert capsys.readouterr() == ("", "")


def test_a_search_that_is_refused_says_why(sweep_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ConfigError("lr=-1: no")

    monkeypatch.setattr(preflight, "check", refuse)

    def search() -> None:
        with report_on_exit():
            get_session(sweep_dir, "val/acc").search(5)
            get_session(sweep_dir, "val/acc").prepare([(0, ["seed=0"], {"seed": 0})], ["seed"], "by hand")

    with pytest.raises(ConfigError, match="lr=-1: no"):
        search()
