"""Process pool: results, number of concurrent jobs, and termination without orphaned processes."""

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

# Subprocesses cannot import this module by name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

TIMEOUT_S = 60.0


def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Whether a process has ended; a zombie counts as ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state in "ZX"


# Functions that run in subprocesses.


def fail() -> None:
    raise ValueError("no such thing")


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def print_from_subprocess_too(output: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"{output}\n")
        stream.flush()
    subprocess.run(["sh", "-c", f"echo {output} from a subprocess"], check=True)


def get_process_info() -> tuple[int, int, int, str | None]:
    return os.getpid(), os.getpgrp(), torch.get_num_threads(), os.environ.get("CUDA_VISIBLE_DEVICES")


def has_files(folder: Path, count: int) -> bool:
    return len(list(folder.iterdir())) >= count


def observe_concurrent_jobs(folder: Path, index: int, workers: int) -> list[str]:
    """Devices of all jobs that run now; the first `workers` jobs wait for each other, so that they overlap."""
    device, pid = os.environ["CUDA_VISIBLE_DEVICES"], os.getpid()
    (folder / f"{device}.{pid}").touch()
    for event in ("started", "observed"):
        if event == "observed":
            time.sleep(0.05)  # in which a surplus job could start
            running = [path.name.partition(".")[0] for path in folder.glob("*.*")]
        (folder / event / str(pid)).touch()
        if index < workers:
            wait_until(partial(has_files, folder / event, workers))
    (folder / f"{device}.{pid}").unlink()
    return sorted(running)


def wait_for_files(folder: Path, names: list[str]) -> str:
    wait_until(lambda: all((folder / name).exists() for name in names))
    return "all exist"


def run_forever(folder: Path, name: str, on_sigterm: str) -> None:
    """Write the pids of this process and of a subprocess to a file; on SIGTERM, save or ignore it."""

    def save(number: int, frame: object) -> None:
        (folder / f"{name}.saved").touch()
        raise SystemExit(1)

    signal.signal(signal.SIGTERM, save if on_sigterm == "save" else signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "600"])
    (folder / f"{name}.part").write_text(f"{os.getpid()} {child.pid}")
    (folder / f"{name}.part").rename(folder / name)
    while True:
        time.sleep(600)


def pids(folder: Path, name: str) -> list[int]:
    return [int(pid) for pid in (folder / name).read_text().split()]


# Results.


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output file in a directory that does not exist yet; ``old.log`` beside it has content."""
    path = tmp_path_factory.mktemp("jobs") / "new" / "train.log"
    (path.parents[1] / "old.log").write_text("old\n")
    return path


@pytest.fixture(scope="module")
def started() -> list[int]:
    """Indices of jobs in the order in which they started."""
    return []


@pytest.fixture(scope="module")
def results(output: Path, started: list[int]) -> list[tuple[int, ProcessResult]]:
    """Results of various jobs; starting processes is slow, so they are run once for all tests."""
    jobs = [
        ProcessJob(kill_self),
        ProcessJob(partial(dict, score=0.5, name="ä")),
        ProcessJob(fail),
        ProcessJob(partial(sys.exit, 3)),
        ProcessJob(partial(print_from_subprocess_too, "first"), output),
        ProcessJob(partial(print_from_subprocess_too, "second"), output.parents[1] / "old.log"),
        ProcessJob(get_process_info),
        ProcessJob(get_process_info),
    ]
    return list(run_jobs(jobs, workers=2, threads=3, on_start=started.append))


@pytest.fixture(scope="module")
def by_index(results: list[tuple[int, ProcessResult]]) -> dict[int, ProcessResult]:
    return dict(results)


def test_each_job_starts_and_ends_once(results: list[tuple[int, ProcessResult]], started: list[int]) -> None:
    assert sorted(index for index, _ in results) == list(range(8))
    assert started == list(range(8))


def test_return_value_is_sent_back(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[1] == ProcessResult(value={"score": 0.5, "name": "ä"})


def test_exception_is_sent_back_as_text(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[2] == ProcessResult(error="ValueError: no such thing")


def test_killed_job_does_not_affect_others(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[0] == ProcessResult(error="killed by SIGKILL (out of memory?)")
    assert by_index[1].error is by_index[4].error is by_index[6].error is None


def test_exit_status_is_reported(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[3] == ProcessResult(error="exited with status 3")


def test_output_of_job_and_its_subprocesses_goes_to_its_file(
    by_index: dict[int, ProcessResult], output: Path
) -> None:
    assert by_index[4].error is None
    assert sorted(output.read_text().splitlines()) == ["first", "first", "first from a subprocess"]


def test_output_is_appended(by_index: dict[int, ProcessResult], output: Path) -> None:
    assert by_index[5].error is None
    assert (output.parents[1] / "old.log").read_text().splitlines()[0] == "old"
    assert (output.parents[1] / "old.log").read_text().count("second") == 3


def test_each_job_runs_in_its_own_process_group(by_index: dict[int, ProcessResult]) -> None:
    (first, first_group, *_), (second, second_group, *_) = by_index[6].value, by_index[7].value
    assert len({first, second, os.getpid()}) == 3
    assert (first_group, second_group) == (first, second)


def test_number_of_torch_threads_is_set(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[6].value[2] == 3


def test_without_devices_visible_devices_are_unchanged(by_index: dict[int, ProcessResult]) -> None:
    assert by_index[6].value[3] == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_no_jobs_return_immediately() -> None:
    assert list(run_jobs([], workers=2, threads=1)) == []


# Concurrency.


@pytest.fixture
def observe(tmp_path: Path) -> Callable[..., list[list[str]]]:
    """Run jobs on two devices; return, for each, the devices of all jobs that ran at the same time."""
    for event in ("started", "observed"):
        (tmp_path / event).mkdir()

    def run(count: int, workers: int) -> list[list[str]]:
        jobs = [ProcessJob(partial(observe_concurrent_jobs, tmp_path, index, workers)) for index in range(count)]
        results = [result for _, result in run_jobs(jobs, workers=workers, threads=1, devices=["4", "7"])]
        assert [result.error for result in results] == [None] * count
        return [result.value for result in results]

    return run


def test_at_most_workers_jobs_run_and_devices_are_round_robin(
    observe: Callable[..., list[list[str]]],
) -> None:
    observed = observe(6, workers=2)
    assert observed.count(["4", "7"]) >= 2  # at least the first two
    assert all(devices in (["4"], ["7"], ["4", "7"]) for devices in observed)


def test_more_workers_than_devices_share_devices(observe: Callable[..., list[list[str]]]) -> None:
    assert observe(3, workers=3) == [["4", "4", "7"]] * 3


# Stopping early.


@pytest.mark.parametrize("how", ["close", "interrupt"])
def test_stopping_early_lets_jobs_save_and_leaves_no_process(how: str, tmp_path: Path) -> None:
    started: list[int] = []
    jobs = [
        ProcessJob(partial(run_forever, tmp_path, "a", "save")),
        ProcessJob(partial(wait_for_files, tmp_path, ["a", "b"])),
        ProcessJob(partial(run_forever, tmp_path, "b", "save")),
        *[ProcessJob(partial((tmp_path / f"late{i}").touch)) for i in range(3)],
    ]
    running = run_jobs(jobs, workers=3, threads=1, on_start=started.append)
    assert next(running) == (1, ProcessResult(value="all exist"))
    if how == "close":
        running.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            running.throw(KeyboardInterrupt())
    assert (tmp_path / "a.saved").exists()
    assert (tmp_path / "b.saved").exists()
    for pid in (*pids(tmp_path, "a"), *pids(tmp_path, "b")):
        wait_until(partial(has_ended, pid))
    assert started == [0, 1, 2]
    assert list(tmp_path.glob("late*")) == []


def test_job_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_pool, "GRACE_PERIOD_S", 0.1)
    jobs = [
        ProcessJob(partial(run_forever, tmp_path, "a", "ignore")),
        ProcessJob(partial(wait_for_files, tmp_path, ["a"])),
    ]
    running = run_jobs(jobs, workers=2, threads=1)
    next(running)
    assert not any(has_ended(pid) for pid in pids(tmp_path, "a"))
    running.close()
    for pid in pids(tmp_path, "a"):
        wait_until(partial(has_ended, pid))


def test_subprocesses_end_with_their_job(tmp_path: Path) -> None:
    def start_subprocess() -> int:
        return subprocess.Popen(["sleep", "600"]).pid

    ((_, result),) = run_jobs([ProcessJob(start_subprocess)], workers=1, threads=1)
    assert result.error is None
    wait_until(partial(has_ended, result.value))


@pytest.mark.slow
def test_jobs_die_with_the_parent_process(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from functools import partial\n"
        "from pathlib import Path\n"
        "import cloudpickle\n"
        "from dive.sweeps.launchers import process_pool\n"
        "process_pool.PRELOADED = []\n"  # to start faster
        "if __name__ == '__main__':\n"
        "    work = cloudpickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "    list(process_pool.run_jobs([process_pool.ProcessJob(work)], workers=1, threads=1))\n"
    )
    (tmp_path / "work").write_bytes(cloudpickle.dumps(partial(run_forever, tmp_path, "a", "ignore")))
    program = subprocess.Popen([sys.executable, str(tmp_path / "program.py"), str(tmp_path / "work")])
    try:
        wait_until((tmp_path / "a").exists)
        assert not any(has_ended(pid) for pid in pids(tmp_path, "a"))
    finally:
        program.kill()
        program.wait()
    for pid in pids(tmp_path, "a"):
        wait_until(partial(has_ended, pid))


def test_large_value_is_sent_back() -> None:
    ((_, result),) = run_jobs([ProcessJob(partial(mul, "x", 1_000_000))], workers=1, threads=1)
    assert len(result.value) == 1_000_000


def test_start_method_of_subprocesses_is_the_default() -> None:
    ((_, result),) = run_jobs([ProcessJob(multiprocessing.get_start_method)], workers=1, threads=1)
    assert result == ProcessResult(value=multiprocessing.get_start_method())
