"""Many runs: at once, one after the other in one process, with one that fails, with odd names."""

import json
import re
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
LEFT = (
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
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and sweeps go to folders of the test's own, below a folder that nothing else may be written to."""
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    return inner


def said(*words: str) -> subprocess.CompletedProcess[str]:
    """A command, run to its end."""
    return subprocess.run([*TRAIN, *words], capture_output=True, text=True, timeout=240)


def results(sweep: str) -> dict[str, dict[str, Any]]:
    """What jobs have left, by their names."""
    found = Path("multirun", sweep).glob("*/result.json")
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def changed(*jobs: Path) -> dict[Path, int]:
    """Every file of these runs, with the time of its last change."""
    return {path: path.stat().st_mtime_ns for job in jobs for path in job.rglob("*") if path.is_file()}


@pytest.mark.fault(8, "eight runs started in one second", "eight `python train.py debug=fast` in one folder")
def test_runs_that_start_together_have_a_directory_each(outcome: Outcome) -> None:
    begin = time.monotonic()
    runs = [subprocess.Popen([*TRAIN, *TINY, "debug=fast"], stderr=subprocess.PIPE, text=True) for _ in range(8)]
    assert time.monotonic() - begin < 1
    told = [run.communicate(timeout=240)[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 8, told
    directories = sorted(Path("outputs").glob("*/*"))
    assert len(directories) == 8
    for directory in directories:
        assert not [name for name in LEFT if not (directory / name).is_file()]
        assert json.loads((directory / "result.json").read_text())["status"] == "finished"
        assert len((directory / "command.txt").read_text().splitlines()) == 1
        torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    outcome("eight complete directories, each finished")


@pytest.mark.fault(
    15, "middle job of three raises", "`-m data.val_size=16,100000,32`: too many, known with the data"
)
def test_the_job_that_fails_costs_only_itself_and_is_tried_again(outcome: Outcome) -> None:
    grid = ("-m", "model=mlp", "data=garments", "data.num_train=256", "data.num_test=32", "trainer=cpu")
    grid = (*grid, "trainer.max_epochs=1", "data.val_size=16,100000,32", "sweep=mid")
    first = said(*grid)
    assert first.returncode == 1
    assert "1 of 3 jobs failed:" in first.stderr
    assert "Traceback" not in first.stderr
    told = results("mid")
    assert [told[f"data.val_size={size}"]["status"] for size in (16, 100000, 32)] == [
        "finished",
        "failed",
        "finished",
    ]
    error = told["data.val_size=100000"]["error"]
    kept = [Path("multirun/mid/data.val_size=16"), Path("multirun/mid/data.val_size=32")]
    before = changed(*kept)

    again = said(*grid)
    assert again.returncode == 1
    assert "3 jobs (2 finished before, 1 to train)" in again.stdout
    assert changed(*kept) == before
    assert [path.name for path in Path("multirun/mid/.earlier").iterdir()] == ["data.val_size=100000.1"]
    outcome(f"two results, one failed (`{error}`), status 1; said again: `2 finished before, 1 to train`")


@pytest.mark.fault(16, "job B after job A in one process", "`train.py` three times in one process: B, A, B")
def test_a_job_does_not_depend_on_the_one_before_it(train: Callable[..., Any], outcome: Outcome) -> None:
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
    outcome("the same weights, metrics and score as alone, bit for bit")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended, and that nobody has asked about, does not."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Watched:
    """What a process has, seen from outside: descriptors, threads, children, memory; and who descends from it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descendants: set[int] = set()
        self.seen: list[dict[str, int]] = []

    def look(self) -> None:
        """Take note of how it stands."""
        folder = Path("/proc", str(self.pid))
        status = (folder / "status").read_text()
        self.descendants |= self._below(self.pid)
        self.seen.append(
            {
                "descriptors": len(list((folder / "fd").iterdir())),
                "threads": len(list((folder / "task").iterdir())),
                "children": len(self._children(self.pid)),
                "kB": int(re.search(r"VmRSS:\s+(\d+)", status)[1]),  # type: ignore[index]  # a live process has it
            }
        )

    def _children(self, pid: int) -> set[int]:
        try:
            lists = [path.read_text() for path in Path("/proc", str(pid), "task").glob("*/children")]
        except OSError:  # it has just ended
            return set()
        return {int(word) for text in lists for word in text.split()}

    def _below(self, pid: int) -> set[int]:
        return {one for child in self._children(pid) for one in {child} | self._below(child)}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="watches through /proc")
@pytest.mark.fault(
    17, "twenty jobs in one sweep", "`ulimit -n 256`; descriptors, threads, children, memory watched"
)
def test_a_long_sweep_does_not_grow(outcome: Outcome, elsewhere: Path) -> None:
    words = [*TRAIN, "-m", *TINY, "seed=range(20)", "sweep=long"]
    sweep = subprocess.Popen(
        ["bash", "-c", 'ulimit -n 256 && exec "$@"', "bash", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    watched, halves = Watched(sweep.pid), []
    while (done := len(list(elsewhere.glob("multirun/long/*/result.json")))) < 20 and sweep.poll() is None:
        if done >= 1:  # before, it is starting
            watched.look()
            halves.append(done >= 10)
        time.sleep(0.02)
    _, told = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, told
    assert len(results("long")) == 20
    assert len(watched.seen) > 20
    # A job has six descriptors at the most; one that each job left open would make ten.
    for name, margin in {"descriptors": 6, "threads": 1, "children": 1, "kB": 10_000}.items():
        early, late = (
            max(s[name] for s, h in zip(watched.seen, halves, strict=True) if h == half) for half in (0, 1)
        )
        assert late <= early + margin, f"{name}: {early} -> {late}"
    assert len(watched.descendants) >= 10
    deadline = time.monotonic() + 10  # the server that jobs are forked from ends when it reads that nobody is left
    while left := [pid for pid in watched.descendants if alive(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    outcome("20 results; the second half takes no more than the first; no child is left")


ODD = ('"../../x"', '"/{tmp}/x"', '"a\nb"', '"$(touch x)"', '"; touch x"', "x" * 300)


@pytest.mark.fault(
    20, "values that are paths, newlines, commands, 300 characters", "`'+note=\"../../x\",...'` in a sweep"
)
def test_values_make_no_paths(outcome: Outcome, tmp_path: Path, elsewhere: Path) -> None:
    values = [value.replace("{tmp}", str(tmp_path)) for value in ODD]
    done = said("-m", *TINY, f"+note={','.join(values)}", "sweep=odd")
    assert done.returncode == 0, done.stderr
    told = results("odd")
    assert [result["status"] for result in told.values()] == ["finished"] * len(ODD)
    assert all(re.fullmatch(r"note=[\w.~\-]{1,120}", name, flags=re.ASCII) for name in told)
    assert [path for path in tmp_path.rglob("*") if not path.is_relative_to(elsewhere / "multirun" / "odd")] == [
        tmp_path / "a",
        tmp_path / "a" / "b",
        elsewhere,
        elsewhere / "multirun",
    ]
    assert not list(tmp_path.rglob("x"))
    outcome(
        "each job is done in a directory of the sweep's, its name cleaned and ended by a digest; nothing elsewhere"
    )


def put_names() -> list[Any]:
    """What may be typed where a name is wanted, and what the run makes of it."""
    refused = r"sweep=.*: a name is of letters, digits"
    return [
        pytest.param(
            ("-m", "seed=0,1", f"sweep={name}"), refused, marks=pytest.mark.fault(20, what, f"`sweep={how}`")
        )
        for name, what, how in (
            ("../x", "name of a sweep that leads elsewhere", "../x"),
            ("/tmp/x", "name of a sweep that is a path", "/tmp/x"),
            ("a\nb", "name of a sweep with a newline", "a\\nb"),
            ("$(touch x)", "name of a sweep that is a command", "$(touch x)"),
            ("x" * 300, "name of a sweep of 300 characters", "xxx..."),
        )
    ]


@pytest.mark.parametrize(("words", "line"), put_names())
def test_a_name_that_is_none_is_refused(
    words: tuple[str, ...],
    line: str,
    train: Callable[..., Any],
    outcome: Outcome,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    with pytest.raises(RunError, match=line) as caught:
        train(*TINY, *words, directory=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    outcome(f"`{str(caught.value).partition(': ')[2]}`")


@pytest.mark.fault(20, "a job's name for Hydra that leads elsewhere", "`hydra.job.name=../../x`")
def test_hydra_s_name_of_a_job_makes_no_path(train: Callable[..., Any], outcome: Outcome, tmp_path: Path) -> None:
    run = train(*TINY, "hydra.job.name=../../x", directory=tmp_path / "a" / "run")
    assert run.result["status"] == "finished"
    assert all(path.is_relative_to(run.directory) for path in tmp_path.rglob("*") if path.is_file())
    outcome("done; nothing is named by it")
