"""Many runs: concurrent, sequential in one process, with a failing job, with unusual names."""

import json
import re
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dive.errors import RunError

ROOT = Path(__file__).parents[2]
TRAIN = [sys.executable, str(ROOT / "train.py")]
TINY = ("model=linear_regression", "data.num_train=32", "data.num_val=32", "trainer=cpu", "trainer.max_epochs=1")
FILES = (
    "config.yaml",
    "command.txt",
    "environment.json",
    "train.log",
    "metrics.csv",
    "curves.png",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
    "result.json",
)

Outcome = Callable[[str], None]


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a temporary directory below directories in which nothing else may be written."""
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return inner


def run_train(*overrides: str) -> subprocess.CompletedProcess[str]:
    """Run train.py in a subprocess."""
    return subprocess.run([*TRAIN, *overrides], capture_output=True, text=True, timeout=240)


def results(sweep: str) -> dict[str, dict[str, Any]]:
    """The results of all jobs, by name."""
    found = Path("multirun", sweep).glob("*/result.json")
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def modification_times(*jobs: Path) -> dict[Path, int]:
    """The modification time of every file of these runs."""
    return {path: path.stat().st_mtime_ns for job in jobs for path in job.rglob("*") if path.is_file()}


@pytest.mark.fault(8, "four runs started in one second", "four `python train.py debug=fast` in one directory")
def test_concurrent_runs_have_separate_directories(outcome: Outcome) -> None:
    begin = time.monotonic()
    runs = [subprocess.Popen([*TRAIN, *TINY, "debug=fast"], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert time.monotonic() - begin < 1
    errors = [run.communicate(timeout=240)[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, errors
    directories = sorted(Path("outputs").glob("*/*"))
    assert len(directories) == 4
    for directory in directories:
        assert not [name for name in FILES if not (directory / name).is_file()]
        assert json.loads((directory / "result.json").read_text())["status"] == "finished"
        assert len((directory / "command.txt").read_text().splitlines()) == 1
        torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    outcome("four complete run directories, all finished")


@pytest.mark.fault(
    15,
    "the second of three jobs raises",
    "`-m data.val_size=16,100000,32`: too large, known only after loading the data",
)
def test_failed_job_affects_only_itself_and_is_retried(outcome: Outcome) -> None:
    grid = ("-m", "model=mlp", "data=garments", "data.num_train=256", "data.num_test=32", "trainer=cpu")
    grid = (*grid, "trainer.max_epochs=1", "data.val_size=16,100000,32", "sweep=mid")
    first = run_train(*grid)
    assert first.returncode == 1
    assert "1 of 3 jobs failed:" in first.stderr
    assert "Traceback" not in first.stderr
    by_name = results("mid")
    assert [by_name[f"data.val_size={size}"]["status"] for size in (16, 100000, 32)] == [
        "finished",
        "failed",
        "finished",
    ]
    error = by_name["data.val_size=100000"]["error"]
    finished = [Path("multirun/mid/data.val_size=16"), Path("multirun/mid/data.val_size=32")]
    before = modification_times(*finished)

    rerun = run_train(*grid)
    assert rerun.returncode == 1
    assert "3 jobs (2 already finished, 1 to start)" in rerun.stdout
    assert modification_times(*finished) == before
    assert [path.name for path in Path("multirun/mid/.earlier").iterdir()] == ["data.val_size=100000.1"]
    outcome(f"two results, one failed (`{error}`), exit status 1; rerun: `2 already finished, 1 to start`")


@pytest.mark.fault(16, "job B after job A in one process", "`train.py` three times in one process: B, A, B")
def test_job_does_not_depend_on_the_previous_job(train: Callable[..., Any], outcome: Outcome) -> None:
    few = (
        "model=mlp",
        "data=garments",
        "data.num_train=256",
        "data.num_test=64",
        "data.val_size=64",
        "trainer=cpu",
    )
    job = (*few, "trainer.max_epochs=2", "seed=3", "model.dropout=0.2", "scheduler=cosine")
    alone = train(*job)
    other = train(*few, "trainer.max_epochs=1", "optimizer=adamw", "trainer.precision=bf16-mixed", "seed=8")
    after = train(*job)
    first, between, second = (
        torch.load(run.directory / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (alone, other, after)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], between[name]) for name in first)
    tables = [(run.directory / "metrics.csv").read_text().splitlines() for run in (alone, after)]
    columns = [i for i, name in enumerate(tables[0][0].split(",")) if "samples_per_second" not in name]
    rows = [[[row.split(",")[i] for i in columns] for row in table] for table in tables]
    assert rows[0] == rows[1]
    assert alone.result["score"] == after.result["score"]
    outcome("the same weights, metrics and score as in a process of its own, bit-identical")


def alive(pid: int) -> bool:
    """Whether a process is running; a zombie is not."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Monitor:
    """Samples the descriptors, threads, children, memory and descendants of a process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descendants: set[int] = set()
        self.samples: list[dict[str, int]] = []

    def sample(self) -> None:
        """Take one sample."""
        folder = Path("/proc", str(self.pid))
        status = (folder / "status").read_text()
        self.descendants |= self._below(self.pid)
        self.samples.append(
            {
                "descriptors": len(list((folder / "fd").iterdir())),
                "threads": len(list((folder / "task").iterdir())),
                "children": len(self._children(self.pid)),
                "kB": int(re.search(r"VmRSS:\s+(\d+)", status)[1]),  # type: ignore[index]  # a running process has it
            }
        )

    def _children(self, pid: int) -> set[int]:
        try:
            lists = [path.read_text() for path in Path("/proc", str(pid), "task").glob("*/children")]
        except OSError:  # the process has just ended
            return set()
        return {int(argument) for text in lists for argument in text.split()}

    def _below(self, pid: int) -> set[int]:
        return {one for child in self._children(pid) for one in {child} | self._below(child)}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
@pytest.mark.fault(
    17, "twenty jobs in one sweep", "`ulimit -n 256`; descriptors, threads, children and memory monitored"
)
def test_long_sweep_does_not_leak_resources(outcome: Outcome, working_directory: Path) -> None:
    arguments = [*TRAIN, "-m", *TINY, "seed=range(20)", "sweep=long"]
    sweep = subprocess.Popen(
        ["bash", "-c", 'ulimit -n 256 && exec "$@"', "bash", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    monitor, halves = Monitor(sweep.pid), []
    while (done := len(list(working_directory.glob("multirun/long/*/result.json")))) < 20 and sweep.poll() is None:
        if done >= 1:  # the launcher has started
            monitor.sample()
            halves.append(done >= 10)
        time.sleep(0.02)
    _, stderr = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, stderr
    assert len(results("long")) == 20
    assert len(monitor.samples) > 20
    # A job has at most six descriptors; a leak of one per job would make ten.
    for name, margin in {"descriptors": 6, "threads": 1, "children": 1, "kB": 10_000}.items():
        early, late = (
            max(s[name] for s, h in zip(monitor.samples, halves, strict=True) if h == half) for half in (0, 1)
        )
        assert late <= early + margin, f"{name}: {early} -> {late}"
    assert len(monitor.descendants) >= 10
    deadline = time.monotonic() + 10  # the fork server exits when its last client has disconnected
    while left := [pid for pid in monitor.descendants if alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    outcome("20 results; the second half uses no more than the first; no child process is left")


UNUSUAL_VALUES = ('"../../x"', '"/{tmp}/x"', '"a\nb"', '"$(touch x)"', '"; touch x"', "x" * 300)


@pytest.mark.fault(
    20,
    "override values that are paths, newlines, commands, 300 characters",
    "`'+note=\"../../x\",...'` in a sweep",
)
def test_override_values_do_not_become_paths(outcome: Outcome, tmp_path: Path, working_directory: Path) -> None:
    values = [value.replace("{tmp}", str(tmp_path)) for value in UNUSUAL_VALUES]
    done = run_train("-m", *TINY, f"+note={','.join(values)}", "sweep=odd")
    assert done.returncode == 0, done.stderr
    by_name = results("odd")
    assert [result["status"] for result in by_name.values()] == ["finished"] * len(UNUSUAL_VALUES)
    assert all(re.fullmatch(r"note=[\w.~\-]{1,120}", name, flags=re.ASCII) for name in by_name)
    assert [
        path for path in tmp_path.rglob("*") if not path.is_relative_to(working_directory / "multirun" / "odd")
    ] == [
        tmp_path / "a",
        tmp_path / "a" / "b",
        working_directory,
        working_directory / "multirun",
    ]
    assert not list(tmp_path.rglob("x"))
    outcome(
        "each job runs in a directory of the sweep, with a sanitized name that ends in a hash; no other is made"
    )


def invalid_sweep_names() -> list[Any]:
    """Invalid sweep names and the expected message."""
    message = r"sweep=.*: must consist of at most 100 letters, digits"
    return [
        pytest.param(
            ("-m", "seed=0,1", f"sweep={name}"), message, marks=pytest.mark.fault(20, what, f"`sweep={how}`")
        )
        for name, what, how in (
            ("../x", "sweep name outside the directory", "../x"),
            ("/tmp/x", "sweep name that is a path", "/tmp/x"),
            ("a\nb", "sweep name with a newline", "a\\nb"),
            ("$(touch x)", "sweep name that is a command", "$(touch x)"),
            ("x" * 300, "sweep name of 300 characters", "xxx..."),
        )
    ]


@pytest.mark.parametrize(("arguments", "line"), invalid_sweep_names())
def test_invalid_sweep_name_is_rejected(
    arguments: tuple[str, ...],
    line: str,
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *TINY, *arguments, f"hydra.run.dir={tmp_path / 'run'}"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(RunError, match=line) as caught:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    outcome(f"`{str(caught.value).partition(': ')[2]}`")


@pytest.mark.fault(20, "Hydra job name outside the directory", "`hydra.job.name=../../x`")
def test_hydra_job_name_does_not_become_a_path(
    train: Callable[..., Any], outcome: Outcome, tmp_path: Path
) -> None:
    run = train(*TINY, "hydra.job.name=../../x", directory=tmp_path / "a" / "run")
    assert run.result["status"] == "finished"
    assert all(path.is_relative_to(run.directory) for path in tmp_path.rglob("*") if path.is_file())
    outcome("finished; no file has this name")
