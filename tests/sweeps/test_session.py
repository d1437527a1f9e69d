"""A sweep session: jobs are planned, run locally or by another launcher, and reported."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from dive.config.compose import compose_resolved
from dive.errors import ConfigError, RunError
from dive.runs.lock import is_locked
from dive.sweeps import preflight
from dive.sweeps.launchers import monitor as module
from dive.sweeps.launchers.monitor import monitor
from dive.sweeps.launchers.resources import ResourceShare
from dive.sweeps.manifest import read_manifest
from dive.sweeps.session import SweepSession
from dive.sweeps.sweep import PlannedJob

# Subprocesses cannot import this module by name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

FINISHED = {"status": "finished", "monitor": "val/acc", "score": 0.5}
FAILED = {"status": "failed", "error": "ValueError: no"}


def jobs(*seeds: int) -> list[tuple[int, Sequence[str], dict[str, Any]]]:
    return [(number, [f"seed={seed}"], {"seed": seed}) for number, seed in enumerate(seeds)]


def write_run(directory: Path, result: Mapping[str, Any] | None) -> None:
    """Write the files of a run; without a result, it looks interrupted."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(f"seed: {directory.name.removeprefix('seed=')}\n")
    if result is not None:
        (directory / "result.json").write_text(json.dumps(result))


def load_result(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return content


@pytest.fixture
def session(sweep_dir: Path) -> Iterator[SweepSession]:
    """A session of a new sweep, closed after the test."""
    session = SweepSession(sweep_dir, "val/acc", "auto")
    yield session
    session.close()


@pytest.fixture
def previous_runs(fake_run: Callable[..., Path]) -> None:
    """Runs of an earlier command in all states; request this fixture before `session`."""
    fake_run("seed=0", {"seed": 0}, score=0.5)
    fake_run("seed=1", {"seed": 1}, score=0.25, code="abcdef9876\n+ a change")
    fake_run("seed=2", {"seed": 2}, status="failed", error="no")
    fake_run("seed=3", {"seed": 3}, status="killed", checkpoint=True)
    fake_run("seed=4", {"seed": 4}, status="failed", error="no")


@pytest.fixture
def planned(session: SweepSession) -> list[PlannedJob]:
    """Three jobs to start, planned without the slow validation."""
    planned = session.sweep.plan(jobs(0, 1, 2), ["seed"])
    session.sweep.start(planned, ["seed"])
    session.progress.total = 3
    return planned


@pytest.fixture
def skip_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the validation of jobs, which starts a subprocess."""
    monkeypatch.setattr(preflight, "validate_jobs", lambda _: None)


@pytest.fixture
def fast_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll almost without a pause."""
    monkeypatch.setattr(module, "POLL_INTERVAL_S", 0.001)


# Planning.


def test_jobs_are_planned_and_the_plan_is_printed(
    previous_runs: None,
    session: SweepSession,
    skip_validation: None,
    sweep_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not session.started
    planned = session.plan_jobs([*jobs(0, 1, 2, 3, 4, 5), (6, ["seed=05"], {"seed": 5})], ["seed"], "locally")
    assert session.started
    assert [plan.action for plan in planned] == ["skip", "skip", "start", "resume", "start", "start", "start"]
    assert capsys.readouterr().out.splitlines() == [
        f"{sweep_dir}: 6 jobs (2 already finished, 1 to resume, 3 to start), locally",
        "  seed=1: the code changed from abcdef9 with changes to 0123456: keeping the result",
        f"  seed=2 and 1 more: failed earlier: starting over, the old run was moved to {sweep_dir / '.earlier'}",
    ]
    assert list(read_manifest(sweep_dir)["jobs"]) == [f"seed={seed}" for seed in range(6)]
    assert not (sweep_dir / "seed=2").exists()
    assert session.progress.line() == "2 of 6 done, best val/acc 0.5 (seed=0)"


def test_all_invalid_jobs_are_reported_and_nothing_is_changed(
    session: SweepSession, fake_run: Callable[..., Path], sweep_dir: Path
) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="no")
    before = sorted(path for path in sweep_dir.rglob("*"))
    config = compose_resolved("model=linear_regression")
    models = [config["model"], {"_target_": "os.system1"}, {"_target_": "os.system2"}]
    requested = [(i, [f"seed={i}"], config | {"seed": i, "model": model}) for i, model in enumerate(models)]
    with pytest.raises(ConfigError) as caught:
        session.plan_jobs(requested, ["seed"], "locally")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("model._target_=os.system1: not allowed")
    assert lines[1].endswith(" (in seed=2)")
    assert sorted(path for path in sweep_dir.rglob("*")) == before
    assert not session.started


def test_skipped_jobs_are_not_validated(
    previous_runs: None, session: SweepSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(preflight, "validate_jobs", lambda configs: checked.extend(name for name, _ in configs))
    session.plan_jobs([*jobs(0, 1, 3, 5), (4, ["seed=05"], {"seed": 5})], ["seed"], "locally")
    assert checked == ["seed=3", "seed=5"]


def test_batches_of_jobs_add_up(session: SweepSession, skip_validation: None) -> None:
    session.plan_jobs(jobs(0, 1), ["seed"], "locally")
    session.plan_jobs(jobs(2, 3, 4), ["seed"], "locally")
    assert session.progress.total == 5


def test_search_counts_earlier_trials_and_prints_once(
    skip_validation: None,
    fake_run: Callable[..., Path],
    write_manifest: Callable[..., None],
    sweep_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed, score in enumerate([0.5, 0.75]):
        fake_run(f"seed={seed}", {"seed": seed}, score=score)
    fake_run("seed=2", {"seed": 2}, status="failed", error="no")
    fake_run("seed=3", {"seed": 3}, status=None, checkpoint=True)
    write_manifest(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(5)})
    session = SweepSession(sweep_dir, "val/acc", "auto")
    assert not session.started
    session.start_search(9)
    assert session.started
    assert capsys.readouterr().out == f"{sweep_dir}: search of 9 trials, 3 already evaluated\n"
    assert session.progress.line() == "2 of 9 done, 1 failed, best val/acc 0.75 (seed=1)"
    assert [plan.action for plan in session.plan_jobs(jobs(1, 3, 6), ["seed"], "locally")] == [
        "skip",
        "resume",
        "start",
    ]
    assert capsys.readouterr().out == ""
    assert session.progress.line() == "2 of 9 done, 1 failed, best val/acc 0.75 (seed=1)"
    session.close()


# Running locally.


def die(directory: Path) -> None:
    write_run(directory, None)
    os.kill(os.getpid(), signal.SIGKILL)


def fail(directory: Path) -> None:
    write_run(directory, None)
    raise ValueError("before it wrote a result")


def test_every_job_has_a_result_afterwards(
    session: SweepSession, sweep_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = session.sweep.plan(jobs(*range(6)), ["seed"])
    session.progress.total = 6
    directories = [plan.directory for plan in planned]
    calls: list[Callable[[], Any]] = [
        partial(write_run, directories[0], FINISHED),
        partial(die, directories[1]),
        partial(fail, directories[2]),
        partial(write_run, directories[3], FAILED),
        partial(print, "a job that prints this and does nothing"),
        partial(os.kill, 0, 0),  # this does nothing either
    ]
    session.run(planned, calls, ResourceShare(2, 1))
    assert [load_result(directory) for directory in directories] == [
        FINISHED,
        {"status": "killed", "error": "killed by SIGKILL (out of memory?)"},
        {"status": "failed", "error": "ValueError: before it wrote a result"},
        FAILED,
        {"status": "failed", "error": "the job wrote no result"},
        {"status": "failed", "error": "the job wrote no result"},
    ]
    assert (directories[4] / "train.log").read_text() == "a job that prints this and does nothing\n"
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(";")[0] for line in lines) == [
        "seed=0: val/acc 0.5",
        "seed=1: killed (killed by SIGKILL (out of memory?))",
        "seed=2: failed (ValueError: before it wrote a result)",
        "seed=3: failed (ValueError: no)",
        "seed=4: failed (the job wrote no result)",
        "seed=5: failed (the job wrote no result)",
    ]
    assert (session.progress.done, session.progress.failed, session.progress.running) == (1, 5, set())


def test_job_killed_after_writing_its_result_is_finished(session: SweepSession, planned: list[PlannedJob]) -> None:
    write_run(planned[0].directory, FINISHED)
    session.on_job_end(planned[0], "killed by SIGKILL")
    assert load_result(planned[0].directory) == FINISHED
    assert session.progress.done == 1


# Monitoring another launcher.


class LossyLauncher:
    """A launcher that runs some of the jobs that it gets, and records the requested indices.

    Args:
        planned: all jobs.
        outcomes: for each call, the outcome of the first few jobs: a result, "started" or "lost".
        error: raised at the end of each call.
    """

    def __init__(
        self, planned: Sequence[PlannedJob], outcomes: Sequence[Sequence[Any]], error: Exception | None = None
    ) -> None:
        self.planned = planned
        self.outcomes = list(outcomes)
        self.error = error
        self.calls: list[list[int]] = []

    def __call__(self, which: Sequence[int]) -> dict[int, str]:
        """Run jobs."""
        self.calls.append(list(which))
        for i, outcome in zip(which, self.outcomes.pop(0), strict=False):
            if outcome != "lost":
                write_run(self.planned[i].directory, None if outcome == "started" else outcome)
        if self.error is not None:
            raise self.error
        return {}


def results(planned: Sequence[PlannedJob]) -> list[dict[str, Any]]:
    return [load_result(plan.directory) for plan in planned]


def test_results_of_another_launcher_are_reported(
    session: SweepSession, planned: list[PlannedJob], fast_polling: None, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = LossyLauncher(planned, [[FINISHED, FAILED, FINISHED]])
    monitor(session, planned, launch)
    assert launch.calls == [[0, 1, 2]]
    assert results(planned) == [FINISHED, FAILED, FINISHED]
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert (session.progress.done, session.progress.failed, session.progress.running) == (2, 1, set())


def test_jobs_are_reported_while_the_launcher_runs(
    session: SweepSession, planned: list[PlannedJob], fast_polling: None
) -> None:
    def launch(which: Sequence[int]) -> dict[int, str]:
        for i in which:
            write_run(planned[i].directory, None)
            while planned[i].name not in session.progress.running:
                pass
            write_run(planned[i].directory, FINISHED)
            while session.progress.done != i + 1:
                pass
        return {}

    monitor(session, planned, launch)
    assert session.progress.line() == "3 of 3 done, best val/acc 0.5 (seed=0)"


def test_jobs_lost_before_they_began_are_launched_again(
    session: SweepSession, planned: list[PlannedJob], fast_polling: None
) -> None:
    launch = LossyLauncher(
        planned, [["started", "lost", "lost"], ["started", FINISHED], []], RuntimeError("a worker died")
    )
    monitor(session, planned, launch)
    assert launch.calls == [[0, 1, 2], [1, 2]]
    lost = {"status": "killed", "error": "killed or lost by the launcher (RuntimeError: a worker died)"}
    assert results(planned) == [lost, lost, FINISHED]
    assert (session.progress.done, session.progress.failed) == (1, 2)


def test_launcher_that_runs_one_job_per_call_is_called_until_all_are_done(
    session: SweepSession, planned: list[PlannedJob], fast_polling: None
) -> None:
    launch = LossyLauncher(planned, [[FINISHED]] * 3)
    monitor(session, planned, launch)
    assert launch.calls == [[0, 1, 2], [1, 2], [2]]
    assert results(planned) == [FINISHED] * 3


def test_job_that_began_without_a_result_was_killed(
    session: SweepSession, planned: list[PlannedJob], fast_polling: None
) -> None:
    launch = LossyLauncher(planned, [["started", FINISHED, "started"]])
    monitor(session, planned, launch)
    killed = {"status": "killed", "error": "killed or lost by the launcher"}
    assert launch.calls == [[0, 1, 2]]
    assert results(planned) == [killed, FINISHED, killed]


def test_launcher_that_runs_nothing_is_called_once(
    session: SweepSession, planned: list[PlannedJob], fast_polling: None
) -> None:
    launch = LossyLauncher(planned, [[]], OSError("sbatch: command not found"))
    monitor(session, planned, launch)
    assert launch.calls == [[0, 1, 2]]
    error = "killed or lost by the launcher (OSError: sbatch: command not found)"
    assert results(planned) == [{"status": "killed", "error": error}] * 3


def test_result_of_an_earlier_attempt_is_ignored(
    session: SweepSession, fake_run: Callable[..., Path], fast_polling: None
) -> None:
    run = fake_run("seed=0", {"seed": 0}, status="killed", error="the first time", checkpoint=True)
    fake_run("seed=1", {"seed": 1}, status="killed", error="the first time", checkpoint=True)
    planned = session.sweep.plan(jobs(0, 1), ["seed"])

    def launch(which: Sequence[int]) -> dict[int, str]:
        if which == [0, 1]:
            write_run(planned[1].directory, FINISHED)
            assert load_result(run)["error"] == "the first time"
        else:
            write_run(run, FINISHED | {"score": 0.75})
        return {}

    monitor(session, planned, launch)
    assert [result["score"] for result in results(planned)] == [0.75, 0.5]
    assert (session.progress.done, session.progress.failed) == (2, 0)


def test_keyboard_interrupt_ends_monitoring(session: SweepSession, planned: list[PlannedJob]) -> None:
    def launch(which: Sequence[int]) -> dict[int, str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        monitor(session, planned, launch)


# The lock.


def test_session_locks_the_sweep_until_closed(sweep_dir: Path) -> None:
    session = SweepSession(sweep_dir, "val/acc", "auto")
    assert is_locked(sweep_dir)
    with pytest.raises(RunError, match="already running"):
        SweepSession(sweep_dir, "val/acc", "auto")
    session.close()
    assert not is_locked(sweep_dir)


def test_search_counts_a_resumed_job_once(
    sweep_dir: Path,
    fake_run: Callable[..., Path],
    write_manifest: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "validate_jobs", lambda *_: None)
    run = fake_run("seed=0", {"seed": 0}, status="interrupted", checkpoint=True)
    write_manifest(["seed"], {"seed=0": ["seed=0"]})
    session = SweepSession(sweep_dir, "val/acc", "auto")
    session.start_search(1)
    (plan,) = session.plan_jobs([(0, ["seed=0"], {"seed": 0})], ["seed"], "locally")
    (run / "result.json").write_text(json.dumps({"status": "finished", "score": 0.5, "monitor": "val/acc"}))
    session.on_job_end(plan)
    line = session.progress.line()
    session.close()
    assert line == "1 of 1 done, best val/acc 0.5 (seed=0)"


def test_error_of_a_resumed_job_that_fails_at_once_is_recorded(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    run = fake_run("seed=0", {"seed": 0}, status="interrupted", checkpoint=True)
    session = SweepSession(sweep_dir, "val/acc", "auto")
    (plan,) = session.sweep.plan([(0, ["seed=0"], {"seed": 0})], ["seed"])
    session.on_job_end(plan, "RuntimeError: before the run could begin")
    session.close()
    assert "RuntimeError" in (run / "result.json").read_text()


def test_interrupted_job_that_was_lost_is_launched_again(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    run = fake_run("seed=0", {"seed": 0}, status=None, checkpoint=True)
    other = fake_run("seed=1", {"seed": 1}, status=None, checkpoint=True)
    session = SweepSession(sweep_dir, "val/acc", "auto")
    planned = session.sweep.plan([(i, [f"seed={i}"], {"seed": i}) for i in range(2)], ["seed"])
    finished = json.dumps({"status": "finished", "score": 0.5, "monitor": "val/acc"})
    calls = []

    def launch(which: Any) -> dict[int, str]:
        calls.append(list(which))
        ((run, other)[which[0]] / "result.json").write_text(finished)
        return {}

    monitor(session, planned, launch)
    session.close()
    assert calls == [[0, 1], [1]]
