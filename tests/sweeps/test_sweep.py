"""Sweep directories: which jobs are skipped, resumed or started over, the archive, the manifest and the lock."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dive.errors import RunError
from dive.runs import provenance
from dive.runs.lock import is_locked
from dive.sweeps.manifest import read_manifest
from dive.sweeps.sweep import PlannedJob, Sweep

Jobs = list[tuple[int, tuple[str, ...], dict[str, Any]]]


def jobs(*configs: Mapping[str, Any], resume: Any = None, sweep: str | None = "lr") -> Jobs:
    """Jobs whose overrides are their configuration."""
    return [
        (
            number,
            tuple(f"{key}={value}" for key, value in config.items()),
            {**config, "resume": resume, "sweep": sweep},
        )
        for number, config in enumerate(configs)
    ]


def make_plan(directory: Path, requested: Jobs, varied: Sequence[str] = ("seed",)) -> list[PlannedJob]:
    """Plan jobs without starting them."""
    with Sweep(directory) as sweep:
        return sweep.plan(requested, varied)


def start_sweep(directory: Path, requested: Jobs, varied: Sequence[str] = ("seed",)) -> list[PlannedJob]:
    """Plan and start jobs: write the manifest and archive old runs."""
    with Sweep(directory) as sweep:
        planned = sweep.plan(requested, varied)
        sweep.start(planned, varied)
    return planned


def contents(directory: Path, ignore: Iterable[str] = (".lock", "sweep.json")) -> dict[str, bytes]:
    """Contents of all files in a directory, by relative path."""
    files = (path for path in directory.rglob("*") if path.is_file() and path.name not in ignore)
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


SEEDS: Jobs = jobs({"seed": 0}, {"seed": 1})


# Actions.


def test_new_jobs_start_in_directories_named_by_varied_keys(sweep_dir: Path) -> None:
    planned = make_plan(sweep_dir, SEEDS)
    assert [(step.action, step.reason, step.archive_to) for step in planned] == [("start", "", None)] * 2
    assert [step.directory for step in planned] == [sweep_dir / "seed=0", sweep_dir / "seed=1"]
    assert [(step.number, step.overrides) for step in planned] == [(0, ("seed=0",)), (1, ("seed=1",))]


def test_sweep_directory_is_created(tmp_path: Path) -> None:
    assert make_plan(tmp_path / "a" / "b", SEEDS)[0].action == "start"
    assert (tmp_path / "a" / "b").is_dir()


def test_finished_job_is_skipped(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5)
    planned = make_plan(sweep_dir, SEEDS)
    assert [step.action for step in planned] == ["skip", "start"]
    assert (planned[0].reason, planned[0].archive_to) == ("", None)


def test_finished_job_is_skipped_whatever_its_number_and_name(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    fake_run("lr=1,seed=1", {"seed": 1, "resume": "somewhere", "sweep": "of another name"}, score=0.5)
    planned = make_plan(sweep_dir, [(7, ("+seed=01",), {"seed": 1, "resume": None, "sweep": "lr"})])
    assert [(step.action, step.directory) for step in planned] == [("skip", sweep_dir / "lr=1,seed=1")]


@pytest.mark.parametrize("status", ["interrupted", "killed", None])
def test_interrupted_job_resumes_its_last_checkpoint(
    status: str | None, sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    run = fake_run("seed=0", {"seed": 0}, status=status, checkpoint=True)
    (step, _) = start_sweep(sweep_dir, SEEDS)
    assert (step.action, step.directory, step.archive_to, step.reason) == ("resume", run, None, "")
    assert (run / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("interrupted", "interrupted earlier"),
        ("killed", "killed earlier"),
        (None, "stopped before its first checkpoint"),
    ],
)
def test_interrupted_job_without_a_checkpoint_starts_over(
    status: str | None, outcome: str, sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    fake_run("seed=0", {"seed": 0}, status=status)
    before = contents(sweep_dir / "seed=0")
    (step, _) = start_sweep(sweep_dir, SEEDS)
    assert (step.action, step.directory) == ("start", sweep_dir / "seed=0")
    assert step.reason.startswith(f"{outcome}: starting over, the old run was moved to ")
    assert not step.directory.exists()
    assert contents(sweep_dir / ".earlier" / "seed=0.1") == before


def test_failed_job_starts_over_and_the_old_run_is_archived(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="ValueError: no", checkpoint=True)
    before = contents(sweep_dir / "seed=0")
    (step, _) = start_sweep(sweep_dir, SEEDS)
    assert step.action == "start"
    assert step.reason == f"failed earlier: starting over, the old run was moved to {sweep_dir / '.earlier'}"
    assert step.archive_to == sweep_dir / ".earlier" / "seed=0.1"
    assert contents(sweep_dir) == {f".earlier/seed=0.1/{name}": text for name, text in before.items()}


def test_all_runs_of_a_job_that_keeps_failing_are_archived(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    for attempt in range(1, 12):
        fake_run("seed=0", {"seed": 0}, status="failed", error=f"attempt {attempt}")
        fake_run("seed=0.1" if attempt == 1 else f"other{attempt}", {"seed": 100 + attempt})
        start_sweep(sweep_dir, SEEDS)
    for attempt in range(1, 12):
        result = json.loads((sweep_dir / ".earlier" / f"seed=0.{attempt}" / "result.json").read_text())
        assert result["error"] == f"attempt {attempt}"
    assert len(list((sweep_dir / ".earlier").iterdir())) == 11


def test_archive_distinguishes_names_with_a_common_prefix(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    requested = jobs({"lr": 0}, {"lr": 0.1})
    for lr in (0.1, 0, 0):
        fake_run(f"lr={lr}", {"lr": lr}, status="failed", error="no")
        start_sweep(sweep_dir, requested, ["lr"])
    configs = {path.name: (path / "config.yaml").read_text() for path in (sweep_dir / ".earlier").iterdir()}
    assert configs == {"lr=0.1.1": "lr: 0.1\n", "lr=0.1": "lr: 0\n", "lr=0.2": "lr: 0\n"}


def test_changed_configuration_starts_over_and_prints_the_change(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    fake_run("seed=0", {"seed": 0, "optimizer": {"lr": 0.1, "momentum": 0}}, score=0.5)
    before = contents(sweep_dir / "seed=0")
    requested: Jobs = [(0, ("seed=0",), {"seed": 0, "optimizer": {"lr": 0.3, "momentum": 0}})]
    (step,) = start_sweep(sweep_dir, requested)
    assert (step.action, step.directory) == ("start", sweep_dir / "seed=0")
    assert step.reason == (
        "the configuration changed (optimizer.lr: 0.1 -> 0.3): starting over, "
        f"the old run was moved to {sweep_dir / '.earlier' / 'seed=0.1'}"
    )
    assert contents(sweep_dir / ".earlier" / "seed=0.1") == before
    assert not (sweep_dir / "seed=0").exists()


def test_at_most_three_changed_keys_are_listed(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    fake_run("seed=0", {"seed": 0, **{f"key{i}": "old" for i in range(9)}})
    (step,) = make_plan(sweep_dir, jobs({"seed": 0, **{f"key{i}": "new" for i in range(9)}}))
    assert step.reason.count("old -> new") == 3


@pytest.mark.parametrize(
    ("status", "checkpoint", "action", "label"),
    [("finished", False, "skip", "keeping the result"), ("interrupted", True, "resume", "resuming anyway")],
)
def test_run_of_other_code_is_kept_and_reported(
    status: str,
    checkpoint: bool,
    action: str,
    label: str,
    sweep_dir: Path,
    fake_run: Callable[..., Path],
) -> None:
    for seed, code in enumerate(["abcdef9876\n", "0123456789\n+ a change"]):
        fake_run(f"seed={seed}", {"seed": seed}, status=status, score=0.5, checkpoint=checkpoint, code=code)
    planned = make_plan(sweep_dir, SEEDS)
    assert [(step.action, step.archive_to) for step in planned] == [(action, None)] * 2
    assert [step.reason for step in planned] == [
        f"the code changed from abcdef9 to 0123456: {label}",
        f"the code changed from 0123456 with changes to 0123456: {label}",
    ]


def test_code_version_includes_uncommitted_changes(
    sweep_dir: Path, fake_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5, code="abc\n+ one")
    for code, changed in (("abc\n+ one", False), ("abc\n+ two", True), ("abd\n+ one", True)):
        monkeypatch.setattr(provenance, "code_version", lambda code=code: code)
        assert bool(make_plan(sweep_dir, SEEDS)[0].reason) == changed


def test_a_run_that_recorded_no_code_is_kept_without_a_word(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    (fake_run("seed=0", {"seed": 0}, score=0.5) / "environment.json").unlink()
    assert [(step.action, step.reason) for step in make_plan(sweep_dir, SEEDS)[:1]] == [("skip", "")]


@pytest.mark.parametrize("text", [None, "", "seed: [0"])
def test_a_directory_without_a_configuration_makes_room(text: str | None, sweep_dir: Path) -> None:
    (sweep_dir / "seed=0").mkdir()
    (sweep_dir / "seed=0" / "train.log").write_text("it did not get far")
    if text is not None:
        (sweep_dir / "seed=0" / "config.yaml").write_text(text)
    (step, _) = start_sweep(sweep_dir, SEEDS)
    assert (step.action, step.archive_to) == ("start", sweep_dir / ".earlier" / "seed=0.1")
    assert (sweep_dir / ".earlier" / "seed=0.1" / "train.log").read_text() == "it did not get far"


def test_two_jobs_of_one_configuration_are_one_step(sweep_dir: Path) -> None:
    requested: Jobs = [
        (0, ("seed=0",), {"seed": 0}),
        (1, ("seed=00",), {"seed": 0}),
        (2, ("seed=1",), {"seed": 1}),
    ]
    planned = make_plan(sweep_dir, requested)
    assert len(planned) == 3
    assert planned[0] is planned[1]
    assert (planned[0].number, planned[0].name) == (0, "seed=0")
    assert planned[2].name == "seed=1"


def test_jobs_that_differ_only_in_non_identity_keys_are_one(sweep_dir: Path) -> None:
    (first,), (second,) = jobs({"seed": 0}), jobs({"seed": 0}, resume="outputs/x", sweep="another")
    planned = make_plan(sweep_dir, [first, second])
    assert planned[0] is planned[1]


def test_planning_changes_nothing_on_disk(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    fake_run("seed=0", {"seed": 0}, status="failed", error="no")
    fake_run("seed=1", {"seed": 1, "lr": 2}, score=0.5)
    fake_run("seed=2", {"seed": 2}, status=None, checkpoint=True)
    before = contents(sweep_dir, ignore=[".lock"])
    planned = make_plan(sweep_dir, jobs({"seed": 0}, {"seed": 1}, {"seed": 2}, {"seed": 3}))
    assert [step.action for step in planned] == ["start", "start", "resume", "start"]
    assert contents(sweep_dir, ignore=[".lock"]) == before
    assert sorted(path.name for path in sweep_dir.iterdir() if path.name != ".lock") == [
        "seed=0",
        "seed=1",
        "seed=2",
    ]


def test_search_that_repeats_parameters_finds_the_finished_job(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    with Sweep(sweep_dir) as sweep:
        sweep.start(sweep.plan(SEEDS, ["seed"]), ["seed"])
        fake_run("seed=1", {"seed": 1}, score=0.5)
        (step,) = sweep.plan([(9, ("lr=1", "seed=1"), {"seed": 1})], ["lr", "seed"])
        assert (step.action, step.name) == ("skip", "seed=1")


# The manifest.


def test_manifest_has_varied_keys_and_requested_jobs(sweep_dir: Path) -> None:
    start_sweep(sweep_dir, SEEDS)
    assert json.loads((sweep_dir / "sweep.json").read_text()) == {
        "varied": ["seed"],
        "jobs": {
            "seed=0": {"number": 0, "overrides": ["seed=0"]},
            "seed=1": {"number": 1, "overrides": ["seed=1"]},
        },
    }


def test_manifest_accumulates_jobs_of_several_commands(sweep_dir: Path) -> None:
    start_sweep(sweep_dir, SEEDS)
    start_sweep(sweep_dir, jobs({"seed": 1, "lr": 2}), ["lr", "seed"])
    start_sweep(sweep_dir, SEEDS[:1])
    manifest = read_manifest(sweep_dir)
    assert manifest["varied"] == ["seed", "lr"]
    assert list(manifest["jobs"]) == ["seed=0", "seed=1", "lr=2,seed=1"]
    assert manifest["jobs"]["lr=2,seed=1"] == {"number": 0, "overrides": ["seed=1", "lr=2"]}


def test_manifest_accumulates_jobs_of_one_command(sweep_dir: Path) -> None:
    with Sweep(sweep_dir) as sweep:
        for seed in range(3):
            requested = jobs({"seed": seed})
            sweep.start(sweep.plan(requested, ["seed"]), ["seed"])
            assert len(read_manifest(sweep_dir)["jobs"]) == seed + 1


def test_directory_without_a_manifest_is_a_new_sweep(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) == {"varied": [], "jobs": {}}


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "3", "null", "{}", '{"jobs": {}}', '{"varied": []}'])
def test_corrupt_manifest_is_rejected_and_not_modified(
    text: str, sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5)
    (sweep_dir / "sweep.json").write_text(text)
    with pytest.raises(RunError) as caught, Sweep(sweep_dir):
        pytest.fail("opened")
    message = str(caught.value)
    assert message.startswith(f"{sweep_dir / 'sweep.json'} is corrupt: ")
    assert "\n" not in message
    assert (sweep_dir / "sweep.json").read_text() == text


def test_sweep_without_its_manifest_keeps_its_results(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    fake_run("seed=0", {"seed": 0}, score=0.5)
    start_sweep(sweep_dir, SEEDS)
    (sweep_dir / "sweep.json").unlink()
    assert start_sweep(sweep_dir, SEEDS)[0].action == "skip"
    assert list(read_manifest(sweep_dir)["jobs"]) == ["seed=0", "seed=1"]


# The lock.


def test_running_sweep_cannot_be_opened_again(sweep_dir: Path) -> None:
    with Sweep(sweep_dir), pytest.raises(RunError) as caught, Sweep(sweep_dir):
        pytest.fail("opened")
    assert str(caught.value) == f"{sweep_dir}: this sweep is already running; choose another name with sweep=NAME"


def test_closed_sweep_can_be_opened_again(sweep_dir: Path) -> None:
    assert not is_locked(sweep_dir)
    with Sweep(sweep_dir):
        assert is_locked(sweep_dir)
    assert not is_locked(sweep_dir)
    with pytest.raises(KeyError), Sweep(sweep_dir):
        raise KeyError("unexpected")
    assert not is_locked(sweep_dir)
    with Sweep(sweep_dir):
        pass


def test_other_sweeps_can_run_at_the_same_time(sweep_dir: Path) -> None:
    with Sweep(sweep_dir), Sweep(sweep_dir.with_name("another")) as other:
        assert other.plan(SEEDS, ["seed"])[0].action == "start"


def test_directory_that_cannot_be_created_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="Not a directory") as caught, Sweep(tmp_path / "file" / "lr"):
        pytest.fail("opened")
    assert str(tmp_path / "file" / "lr") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reason_for_a_number_written_differently_is_not_empty(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    fake_run("lr=1", {"lr": 1.0}, score=0.5)
    with Sweep(sweep_dir) as sweep:
        (step,) = sweep.plan([(0, ["lr=1"], {"lr": 1})], ["lr"])
    assert "()" not in step.reason


def test_different_jobs_of_a_plan_have_different_directories(
    sweep_dir: Path, fake_run: Callable[..., Path]
) -> None:
    fake_run("ex=b", {"v": 1}, score=0.5)
    with Sweep(sweep_dir) as sweep:
        planned = sweep.plan([(0, ["ex=a"], {"v": 1}), (1, ["ex=b"], {"v": 2})], ["ex"])
    assert planned[0].directory != planned[1].directory


def test_archived_run_is_not_reused(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    fake_run("x=1", {"x": 1, "e": 1}, score=0.5)
    with Sweep(sweep_dir) as sweep:
        sweep.start(sweep.plan([(0, ["x=1"], {"x": 1, "e": 2})], ["x"]), ["x"])
        fake_run("x=1", {"x": 1, "e": 2}, score=0.6)
        (step,) = sweep.plan([(1, ["e=1", "x=1"], {"x": 1, "e": 1})], ["x", "e"])
    assert step.name != "x=1"


def test_corrupt_sweep_is_unlocked(sweep_dir: Path) -> None:
    (sweep_dir / "sweep.json").write_text("{")
    with pytest.raises(RunError) as caught, Sweep(sweep_dir):
        pass
    assert caught
    assert not is_locked(sweep_dir)


def test_archive_with_gaps_in_its_numbers(sweep_dir: Path, fake_run: Callable[..., Path]) -> None:
    fake_run(".earlier/x=1.2", {"x": 1})
    fake_run("x=1", {"x": 1}, status="failed")
    with Sweep(sweep_dir) as sweep:
        sweep.start(sweep.plan([(0, ["x=1"], {"x": 1})], ["x"]), ["x"])
