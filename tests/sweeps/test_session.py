"""A sweep while it runs: jobs are prepared, run or watched, and told of."""

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

from dive.errors import ConfigError, RunError
from dive.runs.lock import is_locked
from dive.sweeps import preflight
from dive.sweeps.launchers import monitor as module
from dive.sweeps.launchers.monitor import monitor
from dive.sweeps.launchers.resources import ResourceShare
from dive.sweeps.manifest import read_manifest
from dive.sweeps.session import SweepSession
from dive.sweeps.sweep import PlannedJob

# A process that is started anew cannot import this module by its name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

FINISHED = {"status": "finished", "monitor": "val/acc", "score": 0.5}
FAILED = {"status": "failed", "error": "ValueError: no"}


def jobs(*seeds: int) -> list[tuple[int, Sequence[str], dict[str, Any]]]:
    return [(number, [f"seed={seed}"], {"seed": seed}) for number, seed in enumerate(seeds)]


def leave(directory: Path, result: Mapping[str, Any] | None) -> None:
    """What a run of the job leaves; None is one that was cut off."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.yaml").write_text(f"seed: {directory.name.removeprefix('seed=')}\n")
    if result is not None:
        (directory / "result.json").write_text(json.dumps(result))


def result(directory: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((directory / "result.json").read_text())
    return read


@pytest.fixture
def opened(sweep_dir: Path) -> Iterator[SweepSession]:
    """A session of a new sweep, closed at the end."""
    session = SweepSession(sweep_dir, "val/acc")
    yield session
    session.close()


@pytest.fixture
def earlier(fake_run: Callable[..., Path]) -> None:
    """Jobs of an earlier command, in all the states there are; to be asked for before `opened`."""
    fake_run("seed=0", {"seed": 0}, score=0.5)
    fake_run("seed=1", {"seed": 1}, score=0.25, code="abcdef9876\n+ a change")
    fake_run("seed=2", {"seed": 2}, status="failed", error="no")
    fake_run("seed=3", {"seed": 3}, status="killed", checkpoint=True)
    fake_run("seed=4", {"seed": 4}, status="failed", error="no")


@pytest.fixture
def steps(opened: SweepSession) -> list[PlannedJob]:
    """Three jobs that are to be trained, begun without the check (which is slow)."""
    steps = opened.sweep.plan(jobs(0, 1, 2), ["seed"])
    opened.sweep.start(steps, ["seed"])
    opened.progress.total = 3
    return steps


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of what is to be run, which needs a process."""
    monkeypatch.setattr(preflight, "check", lambda _: None)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again and again without a pause."""
    monkeypatch.setattr(module, "LOOK_S", 0.001)


# Preparing.


def test_jobs_are_checked_begun_and_told(
    earlier: None, opened: SweepSession, sweep_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not opened.started
    steps = opened.prepare([*jobs(0, 1, 2, 3, 4, 5), (6, ["seed=05"], {"seed": 5})], ["seed"], "by hand")
    assert opened.started
    assert [step.action for step in steps] == ["skip", "skip", "start", "resume", "start", "start", "start"]
    assert capsys.readouterr().out.splitlines() == [
        f"{sweep_dir}: 6 jobs (2 finished before, 1 to resume, 3 to train), by hand",
        "  seed=1: the code changed from abcdef9 with changes to 0123456: result kept",
        f"  seed=2 and 1 more: failed before, tried again; the old run is in {sweep_dir / '.earlier'}",
    ]
    assert list(read_manifest(sweep_dir)["jobs"]) == [f"seed={seed}" for seed in range(6)]
    assert not (sweep_dir / "seed=2").exists()
    assert opened.progress.line() == "2 of 6 done, best val/acc 0.5 (seed=0)"


def test_jobs_that_cannot_be_run_are_told_all_at_once_and_nothing_is_changed(
    opened: SweepSession, fake_run: Callable[..., Path], sweep_dir: Path
) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="no")
    before = sorted(path for path in sweep_dir.rglob("*"))
    asked = jobs(0) + [(i, [f"seed={i}"], {"seed": i, "model": {"_target_": f"os.system{i}"}}) for i in (1, 2)]
    with pytest.raises(ConfigError) as caught:
        opened.prepare(asked, ["seed"], "by hand")
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("model._target_=os.system1: not allowed")
    assert lines[1].endswith(" (in seed=2)")
    assert sorted(path for path in sweep_dir.rglob("*")) == before
    assert not opened.started


def test_what_is_kept_is_not_checked_again(
    earlier: None, opened: SweepSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[str] = []
    monkeypatch.setattr(preflight, "check", lambda configs: checked.extend(name for name, _ in configs))
    opened.prepare([*jobs(0, 1, 3, 5), (4, ["seed=05"], {"seed": 5})], ["seed"], "by hand")
    assert checked == ["seed=3", "seed=5"]


def test_batches_of_jobs_count_up(opened: SweepSession, unchecked: None) -> None:
    opened.prepare(jobs(0, 1), ["seed"], "by hand")
    opened.prepare(jobs(2, 3, 4), ["seed"], "by hand")
    assert opened.progress.total == 5


def test_a_search_knows_what_it_has_found_and_tells_of_it_once(
    opened: SweepSession,
    unchecked: None,
    fake_run: Callable[..., Path],
    record: Callable[..., None],
    sweep_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed, score in enumerate([0.5, 0.75]):
        fake_run(f"seed={seed}", {"seed": seed}, score=score)
    fake_run("seed=2", {"seed": 2}, status="failed", error="no")
    fake_run("seed=3", {"seed": 3}, status=None, checkpoint=True)
    opened.close()
    record(["seed"], {f"seed={seed}": [f"seed={seed}"] for seed in range(5)})
    session = SweepSession(sweep_dir, "val/acc")
    assert not session.started
    session.start_search(9)
    assert session.started
    assert capsys.readouterr().out == f"{sweep_dir}: a search of 9 jobs, 3 of them known\n"
    assert session.progress.line() == "2 of 9 done, 1 failed, best val/acc 0.75 (seed=1)"
    assert [step.action for step in session.plan_jobs(jobs(1, 3, 6), ["seed"], "by hand")] == [
        "skip",
        "resume",
        "start",
    ]
    assert capsys.readouterr().out == ""
    assert session.progress.line() == "2 of 9 done, 1 failed, best val/acc 0.75 (seed=1)"
    session.close()


# Running.


def die(directory: Path) -> None:
    leave(directory, None)
    os.kill(os.getpid(), signal.SIGKILL)


def fail(directory: Path) -> None:
    leave(directory, None)
    raise ValueError("before it could say so")


def test_every_job_that_is_run_leaves_a_result(
    opened: SweepSession, sweep_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = opened.sweep.plan(jobs(*range(6)), ["seed"])
    opened.progress.total = 6
    directories = [step.job.directory for step in steps]
    calls: list[Callable[[], Any]] = [
        partial(leave, directories[0], FINISHED),
        partial(die, directories[1]),
        partial(fail, directories[2]),
        partial(leave, directories[3], FAILED),
        partial(print, "a job that says this and does nothing"),
        partial(os.kill, 0, 0),  # nor does this
    ]
    opened.run(steps, calls, ResourceShare(2, 1))
    assert [result(directory) for directory in directories] == [
        FINISHED,
        {"status": "killed", "error": "killed by SIGKILL (for want of memory?)"},
        {"status": "failed", "error": "ValueError: before it could say so"},
        FAILED,
        {"status": "failed", "error": "it left no result"},
        {"status": "failed", "error": "it left no result"},
    ]
    assert (directories[4] / "train.log").read_text() == "a job that says this and does nothing\n"
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(";")[0] for line in lines) == [
        "seed=0: val/acc 0.5",
        "seed=1: killed (killed by SIGKILL (for want of memory?))",
        "seed=2: failed (ValueError: before it could say so)",
        "seed=3: failed (ValueError: no)",
        "seed=4: failed (it left no result)",
        "seed=5: failed (it left no result)",
    ]
    assert (opened.progress.done, opened.progress.failed, opened.progress.running) == (1, 5, set())


def test_a_job_that_dies_after_its_result_has_finished(opened: SweepSession, steps: list[PlannedJob]) -> None:
    leave(steps[0].job.directory, FINISHED)
    opened.ended(steps[0], "killed by SIGKILL")
    assert result(steps[0].job.directory) == FINISHED
    assert opened.progress.done == 1


# Watching another launcher.


class Losing:
    """A launcher that runs some of the jobs it is given, and notes which those were.

    Args:
        steps: all jobs.
        becomes: at each launch, what becomes of the first few of the jobs given: a result, "begun", or "lost".
        error: raised at the end of each launch.
    """

    def __init__(
        self, steps: Sequence[PlannedJob], becomes: Sequence[Sequence[Any]], error: Exception | None = None
    ) -> None:
        self.steps = steps
        self.becomes = list(becomes)
        self.error = error
        self.asked: list[list[int]] = []

    def __call__(self, which: Sequence[int]) -> dict[int, str]:
        """Run jobs."""
        self.asked.append(list(which))
        for i, what in zip(which, self.becomes.pop(0), strict=False):
            if what != "lost":
                leave(self.steps[i].job.directory, None if what == "begun" else what)
        if self.error is not None:
            raise self.error
        return {}


def results(steps: Sequence[PlannedJob]) -> list[dict[str, Any]]:
    return [result(step.job.directory) for step in steps]


def test_jobs_of_another_launcher_are_told_as_their_directories_change(
    opened: SweepSession, steps: list[PlannedJob], often: None, capsys: pytest.CaptureFixture[str]
) -> None:
    launch = Losing(steps, [[FINISHED, FAILED, FINISHED]])
    monitor(opened, steps, launch)
    assert launch.asked == [[0, 1, 2]]
    assert results(steps) == [FINISHED, FAILED, FINISHED]
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert (opened.progress.done, opened.progress.failed, opened.progress.running) == (2, 1, set())


def test_jobs_are_told_while_the_launcher_works(
    opened: SweepSession, steps: list[PlannedJob], often: None
) -> None:
    def launch(which: Sequence[int]) -> dict[int, str]:
        for i in which:
            leave(steps[i].job.directory, None)
            while steps[i].job.name not in opened.progress.running:
                pass
            leave(steps[i].job.directory, FINISHED)
            while opened.progress.done != i + 1:
                pass
        return {}

    monitor(opened, steps, launch)
    assert opened.progress.line() == "3 of 3 done, best val/acc 0.5 (seed=0)"


def test_jobs_that_a_launcher_lost_before_they_began_are_launched_again(
    opened: SweepSession, steps: list[PlannedJob], often: None
) -> None:
    launch = Losing(steps, [["begun", "lost", "lost"], ["begun", FINISHED], []], RuntimeError("a worker died"))
    monitor(opened, steps, launch)
    assert launch.asked == [[0, 1, 2], [1, 2]]
    lost = {"status": "killed", "error": "killed, or lost by its launcher (RuntimeError: a worker died)"}
    assert results(steps) == [lost, lost, FINISHED]
    assert (opened.progress.done, opened.progress.failed) == (1, 2)


def test_a_launcher_that_runs_one_job_at_a_time_is_asked_until_all_are_done(
    opened: SweepSession, steps: list[PlannedJob], often: None
) -> None:
    launch = Losing(steps, [[FINISHED]] * 3)
    monitor(opened, steps, launch)
    assert launch.asked == [[0, 1, 2], [1, 2], [2]]
    assert results(steps) == [FINISHED] * 3


def test_what_was_begun_and_left_no_result_was_killed(
    opened: SweepSession, steps: list[PlannedJob], often: None
) -> None:
    launch = Losing(steps, [["begun", FINISHED, "begun"]])
    monitor(opened, steps, launch)
    killed = {"status": "killed", "error": "killed, or lost by its launcher"}
    assert launch.asked == [[0, 1, 2]]
    assert results(steps) == [killed, FINISHED, killed]


def test_a_launcher_that_runs_nothing_is_not_asked_for_ever(
    opened: SweepSession, steps: list[PlannedJob], often: None
) -> None:
    launch = Losing(steps, [[]], OSError("sbatch: command not found"))
    monitor(opened, steps, launch)
    assert launch.asked == [[0, 1, 2]]
    told = "killed, or lost by its launcher (OSError: sbatch: command not found)"
    assert results(steps) == [{"status": "killed", "error": told}] * 3


def test_the_result_of_an_earlier_attempt_is_not_taken_for_that_of_this_one(
    opened: SweepSession, fake_run: Callable[..., Path], often: None
) -> None:
    run = fake_run("seed=0", {"seed": 0}, status="killed", error="the first time", checkpoint=True)
    fake_run("seed=1", {"seed": 1}, status="killed", error="the first time", checkpoint=True)
    steps = opened.sweep.plan(jobs(0, 1), ["seed"])

    def launch(which: Sequence[int]) -> dict[int, str]:
        if which == [0, 1]:
            leave(steps[1].job.directory, FINISHED)
            assert result(run)["error"] == "the first time"
        else:
            leave(run, FINISHED | {"score": 0.75})
        return {}

    monitor(opened, steps, launch)
    assert [told["score"] for told in results(steps)] == [0.75, 0.5]
    assert (opened.progress.done, opened.progress.failed) == (2, 0)


def test_ctrl_c_ends_the_watch(opened: SweepSession, steps: list[PlannedJob]) -> None:
    def launch(which: Sequence[int]) -> dict[int, str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        monitor(opened, steps, launch)


# The lock.


def test_a_session_locks_the_sweep_until_it_is_closed(sweep_dir: Path) -> None:
    session = SweepSession(sweep_dir, "val/acc")
    assert is_locked(sweep_dir)
    with pytest.raises(RunError, match="running already"):
        SweepSession(sweep_dir, "val/acc")
    session.close()
    assert not is_locked(sweep_dir)


def test_a_search_counts_a_resumed_job_once(
    sweep_dir: Path, fake_run: Callable[..., Path], record: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    run = fake_run("seed=0", {"seed": 0}, status="interrupted", checkpoint=True)
    record(["seed"], {"seed=0": ["seed=0"]})
    one = SweepSession(sweep_dir, "val/acc")
    one.search(1)
    (step,) = one.prepare([(0, ["seed=0"], {"seed": 0})], ["seed"], "by hand")
    (run / "result.json").write_text(json.dumps({"status": "finished", "score": 0.5, "monitor": "val/acc"}))
    one.ended(step)
    line = one.progress.line()
    one.close()
    assert line == "1 of 1 done, best val/acc 0.5 (seed=0)"


def test_a_resumed_job_that_fails_at_once_is_told_with_its_error(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    run = fake_run("seed=0", {"seed": 0}, status="interrupted", checkpoint=True)
    one = SweepSession(sweep_dir, "val/acc")
    (step,) = one.sweep.plan([(0, ["seed=0"], {"seed": 0})], ["seed"])
    one.ended(step, "RuntimeError: before the run could begin")
    one.close()
    assert "RuntimeError" in (run / "result.json").read_text()


def test_a_cut_off_job_that_was_lost_is_launched_again(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    run = fake_run("seed=0", {"seed": 0}, status=None, checkpoint=True)
    other = fake_run("seed=1", {"seed": 1}, status=None, checkpoint=True)
    one = SweepSession(sweep_dir, "val/acc")
    steps = one.sweep.plan([(i, [f"seed={i}"], {"seed": i}) for i in range(2)], ["seed"])
    finished = json.dumps({"status": "finished", "score": 0.5, "monitor": "val/acc"})
    asked = []

    def launch(which: Any) -> dict[int, str]:
        asked.append(list(which))
        ((run, other)[which[0]] / "result.json").write_text(finished)
        return {}

    monitor(one, steps, launch)
    one.close()
    assert asked == [[0, 1], [1]]
