"""Tasks in processes of their own: what comes back, how many at a time, and that none is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch

from dive.sweeps.launchers import process_pool
from dive.sweeps.launchers.process_pool import ProcessJob, ProcessResult, run_jobs

# A process that is started anew cannot import this module by its name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

PATIENCE_S = 60.0  # until a test gives up on what has to happen


def until(happened: Callable[[], Any]) -> None:
    """Wait for something that must happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended (one that nobody waits for may still be in the list)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


# What is run: in other processes.


def fail() -> None:
    raise ValueError("no such thing")


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_much(output: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"{output}\n")
        stream.flush()
    subprocess.run(["sh", "-c", f"echo {output} of another process"], check=True)


def tell_of_surroundings() -> tuple[int, int, int, str | None]:
    return os.getpid(), os.getpgrp(), torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES")


def as_many(folder: Path, count: int) -> bool:
    return len(list(folder.iterdir())) >= count


def work_beside_others(folder: Path, index: int, workers: int) -> list[str]:
    """Devices of all tasks that run now; the first few see each other begin, and look, before they end."""
    device, pid = os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()
    (folder / f"{device}.{pid}").touch()
    for event in ("begun", "looked"):
        if event == "looked":
            time.sleep(0.05)  # for one too many to begin
            running = [path.name.partition(".")[0] for path in folder.glob("*.*")]
        (folder / event / str(pid)).touch()
        if index < workers:
            until(partial(as_many, folder / event, workers))
    (folder / f"{device}.{pid}").unlink()
    return sorted(running)


def wait_for(folder: Path, names: list[str]) -> str:
    until(lambda: all((folder / name).exists() for name in names))
    return "all there"


def work_for_ever(folder: Path, name: str, manners: str) -> None:
    """Note who works, with another process that helps; on SIGTERM save, or take no notice."""

    def save(number: int, frame: object) -> None:
        (folder / f"{name}.saved").touch()
        raise SystemExit(1)

    signal.signal(signal.SIGTERM, save if manners == "saves" else signal.SIG_IGN)
    helper = subprocess.Popen(["sleep", "600"])
    (folder / f"{name}.part").write_text(f"{os.getpid()} {helper.pid}")
    (folder / f"{name}.part").rename(folder / name)
    while True:
        time.sleep(600)


def pids(folder: Path, name: str) -> list[int]:
    return [int(pid) for pid in (folder / name).read_text().split()]


# What comes back.


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the task that prints, in a folder that is not there yet, beside one that is."""
    path = tmp_path_factory.mktemp("jobs") / "new" / "train.log"
    (path.parents[1] / "old.log").write_text("first\n")
    return path


@pytest.fixture(scope="module")
def begun() -> list[int]:
    """Tasks as they started."""
    return []


@pytest.fixture(scope="module")
def ended(output: Path, begun: list[int]) -> list[tuple[int, ProcessResult]]:
    """What became of a mixed lot, two at a time; starting processes takes a while, so they are started once."""
    tasks = [
        ProcessJob(kill_myself),
        ProcessJob(partial(dict, score=0.5, name="ä")),
        ProcessJob(fail),
        ProcessJob(partial(sys.exit, 3)),
        ProcessJob(partial(write_much, "told"), output),
        ProcessJob(partial(write_much, "second"), output.parents[1] / "old.log"),
        ProcessJob(tell_of_surroundings),
        ProcessJob(tell_of_surroundings),
    ]
    return list(run_jobs(tasks, workers=2, threads=3, started=begun.append))


@pytest.fixture(scope="module")
def by_index(ended: list[tuple[int, ProcessResult]]) -> dict[int, ProcessResult]:
    return dict(ended)


def test_each_task_starts_and_ends_once(ended: list[tuple[int, ProcessResult]], begun: list[int]) -> None:
    assert sorted(index for index, _ in ended) == list(range(8))
    assert begun == list(range(8))


def test_what_a_task_returns_comes_back(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[1] == ProcessResult(value={"score": 0.5, "name": "ä"})


def test_what_a_task_raises_comes_back_as_text(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[2] == ProcessResult(error="ValueError: no such thing")


def test_a_task_that_is_killed_costs_itself_alone(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[0] == ProcessResult(error="killed by SIGKILL (for want of memory?)")
    assert by_index[1].error is by_index[4].error is by_index[6].error is None


def test_a_task_that_leaves_by_itself_is_told_with_its_exit_status(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[3] == ProcessResult(error="left with exit status 3")


def test_what_a_task_and_its_processes_print_goes_to_its_file(
    by_index: dict[int, ProcessResult], output: Path
) -> None:
    assert by_index[4].error is None
    assert sorted(output.read_text().splitlines()) == ["told", "told", "told of another process"]


def test_what_is_printed_is_appended(by_index: dict[int, ProcessResult], output: Path) -> None:
    assert by_index[5].error is None
    assert (output.parents[1] / "old.log").read_text().splitlines()[0] == "first"
    assert (output.parents[1] / "old.log").read_text().count("second") == 3


def test_each_task_has_a_process_of_its_own_that_leads_a_group(by_index: dict[int, ProcessResult]) -> None:
    (one, one_s_group, *_), (other, other_s_group, *_) = by_index[6].value, by_index[7].value
    assert len({one, other, os.getpid()}) == 3
    assert (one_s_group, other_s_group) == (one, other)


def test_the_threads_of_torch_are_set(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[6].value[2] == 3


def test_without_devices_the_visible_ones_stay_as_they_are(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[6].value[3] == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_nothing_to_run_ends_at_once() -> None:
    assert list(run_jobs([], workers=2, threads=1)) == []


# How many at a time.


@pytest.fixture
def beside(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """Run tasks on two devices, and return what each saw: the devices of those that ran when it did."""
    for event in ("begun", "looked"):
        (tmp_path / event).mkdir()

    def seen(count: int, workers: int) -> list[list[str]]:
        tasks = [ProcessJob(partial(work_beside_others, tmp_path, index, workers)) for index in range(count)]
        results = [ended for _, ended in run_jobs(tasks, workers=workers, threads=1, devices=["4", "7"])]
        assert [ended.error for ended in results] == [None] * count
        return [ended.value for ended in results]

    return seen


def test_no_more_run_at_a_time_than_workers_and_they_take_the_devices_by_turns(
    beside: Callable[..., list[list[str]]],
) -> None:
    seen = beside(6, workers=2)
    assert seen.count(["4", "7"]) >= 2  # the first two, at least
    assert all(devices in (["4"], ["7"], ["4", "7"]) for devices in seen)


def test_more_workers_than_devices_share_them(beside: Callable[..., list[list[str]]]) -> None:
    assert beside(3, workers=3) == [["4", "4", "7"]] * 3


# Breaking off.


@pytest.mark.parametrize("how", ["close", "interrupt"])
def test_breaking_off_lets_those_that_run_save_and_leaves_no_process(how: str, tmp_path: Path) -> None:
    started: list[int] = []
    tasks = [
        ProcessJob(partial(work_for_ever, tmp_path, "a", "saves")),
        ProcessJob(partial(wait_for, tmp_path, ["a", "b"])),
        ProcessJob(partial(work_for_ever, tmp_path, "b", "saves")),
        *[ProcessJob(partial((tmp_path / f"late{i}").touch)) for i in range(3)],
    ]
    running = run_jobs(tasks, workers=3, threads=1, started=started.append)
    assert next(running) == (1, ProcessResult(value="all there"))
    if how == "close":
        running.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            running.throw(KeyboardInterrupt())
    assert (tmp_path / "a.saved").exists()
    assert (tmp_path / "b.saved").exists()
    for pid in (*pids(tmp_path, "a"), *pids(tmp_path, "b")):
        until(partial(gone, pid))
    assert started == [0, 1, 2]
    assert list(tmp_path.glob("late*")) == []


def test_a_task_that_takes_no_notice_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "GRACE_S", 0.1)
    tasks = [
        ProcessJob(partial(work_for_ever, tmp_path, "a", "stays")),
        ProcessJob(partial(wait_for, tmp_path, ["a"])),
    ]
    running = run_jobs(tasks, workers=2, threads=1)
    next(running)
    assert not any(gone(pid) for pid in pids(tmp_path, "a"))
    running.close()
    for pid in pids(tmp_path, "a"):
        until(partial(gone, pid))


def test_what_a_task_has_started_ends_with_it(tmp_path: Path) -> None:
    def leave_a_helper() -> int:
        return subprocess.Popen(["sleep", "600"]).pid

    ((_, ended),) = run_jobs([ProcessJob(leave_a_helper)], workers=1, threads=1)
    assert ended.error is None
    until(partial(gone, ended.value))


def test_tasks_die_with_the_process_that_runs_them(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "import cloudpickle\n"
        "from dive.sweeps import processes\n"
        "processes.PRELOADED = []\n"  # it starts sooner
        "if __name__ == '__main__':\n"
        "    work = cloudpickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "    list(processes.run([processes.Task(work)], workers=1, threads=1))\n"
    )
    (tmp_path / "work").write_bytes(cloudpickle.dumps(partial(work_for_ever, tmp_path, "a", "stays")))
    program = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(tmp_path / "work")])
    try:
        until((tmp_path / "a").exists)
        assert not any(gone(pid) for pid in pids(tmp_path, "a"))
    finally:
        program.kill()
        program.wait()
    for pid in pids(tmp_path, "a"):
        until(partial(gone, pid))


def test_a_large_value_comes_back() -> None:
    ((_, ended),) = run_jobs([ProcessJob(partial(mul, "x", 1_000_000))], workers=1, threads=1)
    assert len(ended.value) == 1_000_000


def test_a_task_starts_processes_of_its_own_as_it_would_alone() -> None:
    ((_, ended),) = run_jobs([ProcessJob(multiprocessing.get_start_method)], workers=1, threads=1)
    assert ended == ProcessResult(value=multiprocessing.get_start_method())
