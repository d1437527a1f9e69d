"""Damaged records, changed data, limited memory, clocks that go back, and CSV files with pitfalls."""

import bz2
import gzip
import io
import json
import logging
import lzma
import runpy
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from dive.config.resume_override import resume_overrides
from dive.data import csv_reader
from dive.data.tabular import CSVDataModule
from dive.errors import DataError, RunError, UserError
from dive.evaluation.compare import compare, find_runs
from dive.evaluation.evaluate import evaluate_run
from dive.evaluation.rebuild import recorded_threads, validated_config
from dive.evaluation.reproduce import finished_config, reproduce
from dive.loggers.tensorboard import TensorBoardLogger
from dive.runs import checkpoint_io
from dive.runs.checkpoint_schema import CONTENT
from dive.runs.record import read_config
from dive.sweeps import report
from dive.sweeps.results_table import load_table
from dive.sweeps.sweep import Sweep

ROOT = Path(__file__).parents[2]
TINY = ("model=linear_regression", "data.num_train=32", "data.num_val=32", "trainer=cpu", "trainer.max_epochs=2")

Outcome = Callable[[str], None]
TrainPy = Callable[..., str]


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a temporary directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def train_py(monkeypatch: pytest.MonkeyPatch) -> TrainPy:
    """Run train.py in this process, and return its error message; empty if it succeeds."""

    def start(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        try:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        except SystemExit as exited:
            return str(exited.code)
        return ""

    return start


# Damaged records.

FILES = (
    "config.yaml",
    "result.json",
    "environment.json",
    "metrics.csv",
    "command.txt",
    "code.diff",
    "checkpoints/last.ckpt",
)
OTHER_VALUES = (None, True, -1, 0.5, 1e308, 10**30, "", "text", "\x1b[31m", [], {}, [[{}]], {"best": 3}, "${seed}")


def values_in(node: Any) -> list[tuple[Any, Any]]:
    """All containers and keys in nested containers."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else []
    return [pair for key, value in items for pair in [(node, key), *values_in(value)]]


@st.composite
def damages(draw: st.DrawFn) -> Callable[[Path], None]:
    """A way to damage a file."""
    kind = draw(
        st.sampled_from(["cut", "flip", "insert", "value", "remove", "folder", "empty", "garbage", "nan", "twice"])
    )
    position, content = draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=20))
    choice, value = draw(st.integers(0, 10**6)), draw(st.sampled_from(OTHER_VALUES))

    def damage(path: Path) -> None:
        old = path.read_bytes()
        at = int(position * len(old))
        if kind == "cut":
            path.write_bytes(old[:at])
        elif kind == "flip" and old:
            at = min(at, len(old) - 1)
            path.write_bytes(old[:at] + bytes([old[at] ^ (1 + content[0] % 255)]) + old[at + 1 :])
        elif kind == "insert":
            path.write_bytes(old[:at] + content + old[at:])
        elif kind == "value" and path.suffix in (".json", ".yaml"):
            record = json.loads(old) if path.suffix == ".json" else read_config(path.parent)
            container, key = values_in(record)[choice % len(values_in(record))]
            container[key] = value
            path.write_text(json.dumps(record))
        elif kind == "nan":
            path.write_bytes(old.replace(b": 0", b": NaN").replace(b",0", b",nan").replace(b"1", b"inf", 1))
        elif kind == "twice":
            path.write_bytes(old + old)
        elif kind in ("remove", "folder"):
            path.unlink()
            if kind == "folder":
                path.mkdir()
        else:
            path.write_bytes(content if kind == "garbage" else b"")

    return damage


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of two jobs."""
    folder = tmp_path_factory.mktemp("sweep")
    command = [sys.executable, str(ROOT / "train.py"), "-m", *TINY, "callbacks=lean", "seed=0,1", "sweep=s"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=240)
    return folder / "multirun" / "s"


def run_train(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run train.py in a process of its own."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def one_line(tool: Callable[[], object]) -> str:
    """Call a tool; return the message of its error, which must be one for the user."""
    try:
        tool()
    except UserError as error:
        message = str(error)
        assert message
        return message
    return ""


@pytest.mark.fault(
    35, "damaged records", "each file of a run cut, changed, replaced by a folder, ..., in 400 ways (hypothesis)"
)
def test_reading_tools_survive_damaged_records(sweep: Path, tmp_path: Path, outcome: Outcome) -> None:
    intact = load_table(sweep).jobs.set_index("job")

    @settings(
        max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from((*FILES, "sweep.json")), damages())
    def check(name: str, damage: Callable[[Path], None]) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(sweep, copy)
        damage(copy / name if name == "sweep.json" else copy / "seed=0" / name)
        run = copy / "seed=0"
        if name != "sweep.json":
            table = load_table(copy)
            row = table.jobs.set_index("job").loc["seed=1"]
            assert row["score"] == intact.loc["seed=1", "score"], "the other job is not affected"
            assert {"seed=0", "seed=1"} == set(table.jobs["job"])
            report.markdown(table)
            report.print_report(table, Console(file=io.StringIO()))
            with Sweep(copy) as opened:
                other = read_config(copy / "seed=1")
                actions = opened.plan([(0, ["seed=0"], other | {"seed": 0}), (1, ["seed=1"], other)], ["seed"])
            assert actions[1].action == "skip"
            if table.jobs.set_index("job").loc["seed=0", "status"] == "damaged":
                assert actions[0].action == "start"
        for tool in (
            lambda: load_table(copy),
            lambda: compare(find_runs([run, copy / "seed=1"])),
            lambda: validated_config(run),
            lambda: finished_config(run),
            lambda: resume_overrides([f"resume={run}"]).__enter__(),
        ):
            one_line(tool)

    check()
    outcome(
        "one line, or correct: the job is damaged, with its reason, and is trained again; others are unaffected"
    )


@pytest.mark.fault(
    35, "damaged records", "evaluate.py, reproduce.py and resume= on each file damaged in 120 ways (hypothesis)"
)
def test_running_tools_survive_damaged_records(
    sweep: Path, tmp_path: Path, outcome: Outcome, train_py: TrainPy
) -> None:
    expected = json.loads((sweep / "seed=0" / "result.json").read_text())

    @settings(
        max_examples=120, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(FILES), damages(), st.sampled_from(["evaluate", "resume", "reproduce"]))
    def check(name: str, damage: Callable[[Path], None], tool: str) -> None:
        run, again = tmp_path / "copy", tmp_path / "again"
        for folder in (run, again):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sweep / "seed=0", run)
        damage(run / name)
        if tool == "evaluate":
            one_line(lambda: evaluate_run(run))
        elif tool == "reproduce":
            one_line(lambda: reproduce(run, again))
        elif not train_py(f"resume={run}") and name != "metrics.csv":  # where a changed digit is not noticed
            assert json.loads((run / "result.json").read_text())["score"] == expected["score"]

    check()
    outcome("one line, or the recorded metrics")


OTHER_TENSORS = (torch.zeros(3), torch.tensor(1.5), (1, 2))
STATES = ("callbacks", "lr_schedulers", "optimizer_states")  # what is in them depends on the classes


@pytest.mark.fault(
    35, "damaged records", "a value of config.yaml or of a checkpoint removed or replaced in 200 ways (hypothesis)"
)
def test_values_of_another_kind(sweep: Path, tmp_path: Path, outcome: Outcome, train_py: TrainPy) -> None:
    @settings(
        max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.sampled_from(["config.yaml"] * 5 + [*CONTENT, *STATES]),
        st.integers(0, 10**6),
        st.sampled_from(("REMOVE", *OTHER_VALUES, *OTHER_TENSORS)),
        st.sampled_from(["evaluate", "resume", "reproduce"]),
    )
    def check(name: str, choice: int, value: Any, tool: str) -> None:
        run, again = tmp_path / "copy", tmp_path / "again"
        for folder in (run, again):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(sweep / "seed=0", run)
        last = run / "checkpoints" / "last.ckpt"
        saved = torch.load(last, weights_only=True)
        config = read_config(run)
        if name == "config.yaml":
            candidates = values_in(config)
            saved["config"] = None
        else:
            candidates = [(saved, name), *(values_in(saved[name]) if name not in STATES else [])]
        container, key = candidates[choice % len(candidates)]
        if isinstance(value, str) and value == "REMOVE":
            del container[key]
        elif name != "config.yaml" or not isinstance(value, torch.Tensor | tuple):
            container[key] = value
        (run / "config.yaml").write_text(json.dumps(config))
        torch.save(saved, last)
        if tool == "evaluate":
            one_line(lambda: evaluate_run(run, checkpoint="last"))
        elif tool == "reproduce":
            one_line(lambda: reproduce(run, again))
        else:
            train_py(f"resume={run}", "trainer.max_epochs=3")

    check()
    outcome("one line, or correct")


@pytest.mark.fault(
    35,
    "damaged records",
    "a study database of random bytes, cut short, or empty; a checkpoint with bad compressed data",
)
def test_other_damaged_files(sweep: Path, tmp_path: Path, train_py: TrainPy, outcome: Outcome) -> None:
    command = (
        "-m",
        *TINY,
        "callbacks=lean",
        "sweeper=optuna",
        "hydra.sweeper.n_trials=1",
        "sweep=o",
        "optimizer.lr=interval(0.01,0.1)",
    )
    assert run_train(*command).returncode == 0
    study = tmp_path / "multirun" / "o" / "study.db"
    content = study.read_bytes()
    for damaged in (bytes(range(256)) * 40, content[: len(content) // 3]):
        study.write_bytes(damaged)
        message = run_train(*command).stderr.strip()
        assert "study.db is corrupt or locked (" in message
        assert "\n" not in message
    path = tmp_path / "last.ckpt"
    shutil.copy(sweep / "seed=0" / "checkpoints" / "last.ckpt", path)
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", compression=method) as archive:
            archive.writestr("archive/data.pkl", b"x" * 10_000)
        with pytest.raises(checkpoint_io.CorruptCheckpointError, match="is compressed"):
            checkpoint_io.load_checkpoint(path)
    outcome("`study.db is corrupt or locked (...)`, `archive/data.pkl is compressed or a folder`")


# Changed data.


def write_csv(path: Path, power: int = 1) -> Path:
    path.write_text("x,price\n" + "".join(f"{i},{i**power}\n" for i in range(40)))
    return path


CSV = (
    "model=linear_regression",
    "data=house_tiny",
    "data.target=price",
    "trainer=cpu",
    "callbacks=lean",
    "trainer.max_epochs=2",
)


@pytest.mark.fault(
    36, "data that have changed", "a CSV file is edited between the start of a run and resume=, and within a sweep"
)
def test_changed_data_are_noticed(
    tmp_path: Path, train_py: TrainPy, outcome: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(tmp_path / "table.csv")
    command = (*CSV, f"data.path={path}", f"hydra.run.dir={tmp_path / 'run'}")
    assert train_py(*command) == ""
    sweep = ("-m", *CSV, f"data.path={path}", "sweep=s")
    assert train_py(*sweep, "seed=0,1") == ""
    write_csv(path, power=2)
    resumed = train_py(f"resume={tmp_path / 'run'}", "trainer.max_epochs=3")
    assert resumed.endswith("restore them to resume, or start a new run with the changed data"), resumed
    capsys.readouterr()
    assert train_py(*sweep, "seed=0,1,2") == ""
    assert "warning: jobs were trained on different versions of their data" in capsys.readouterr().out
    table = load_table(tmp_path / "multirun" / "s")
    assert table.data_changed
    versions = table.jobs.set_index("job")["data version"]
    assert versions["seed=0"] == versions["seed=1"] != versions["seed=2"]
    assert len(table.mean_over_seeds()) == 2
    write_csv(path)
    assert train_py(f"resume={tmp_path / 'run'}", "trainer.max_epochs=3") == "", "with the data restored"
    outcome("resume=: one line with the way out; the report of the sweep has a warning and a column")


# Memory and clocks.


@pytest.mark.fault(
    37,
    "limits and clocks",
    "a sweep under ulimit -v; a record with a million threads; an event file from the future",
)
@pytest.mark.parametrize("kilobytes", [400_000, 800_000])
def test_a_pool_that_cannot_start_says_so(kilobytes: int, outcome: Outcome) -> None:
    train = f"{sys.executable} {ROOT / 'train.py'} -m {' '.join(TINY)} seed=0,1"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v {kilobytes}; exec {train}"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.rstrip().endswith("is its memory limited (ulimit -v)?")
    outcome("`error: cannot start the process of a job: ...; is its memory limited (ulimit -v)?`")


@pytest.mark.fault(
    37,
    "limits and clocks",
    "a sweep under ulimit -v; a record with a million threads; an event file from the future",
)
def test_threads_are_limited_to_the_cores(tmp_path: Path, outcome: Outcome) -> None:
    (tmp_path / "environment.json").write_text('{"torch_threads": 1000000}')
    threads = recorded_threads(tmp_path)
    assert threads is not None
    assert threads <= 1024
    outcome("at most as many threads as cores")


@pytest.mark.fault(
    37,
    "limits and clocks",
    "a sweep under ulimit -v; a record with a million threads; an event file from the future",
)
def test_a_new_event_file_is_later_than_all_others(tmp_path: Path, outcome: Outcome) -> None:
    future = tmp_path / f"events.out.tfevents.{int(time.time()) + 100_000}.host.1.0"
    future.touch()
    (tmp_path / "events.out.tfevents.hparams").touch()
    TensorBoardLogger(tmp_path).log_metrics({"val/loss": 1.0}, 0)
    new = next(path for path in tmp_path.iterdir() if path.stat().st_size)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        future.name,
        new.name,
        "events.out.tfevents.hparams",
    ]
    outcome("the new event file sorts after it")


# CSV.


def read(text: str | bytes, name: str = "t.csv", target: str = "price") -> Any:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return csv_reader.read_csv(Path(name), target)


@pytest.mark.fault(
    38, "CSV files with pitfalls", "repeated names, quoted newlines, texts among numbers, corrupt archives"
)
def test_csv_pitfalls(outcome: Outcome, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="several columns have the name 'price'; rename or remove them"):
        read("price,x,price\n1,2,3\n4,5,6\n")
    with pytest.raises(DataError, match=r"t\.csv, line 6: price must be a number below 1e38, got cheap"):
        read('note,price\n"a\nb",1\n"c\nd",2\ne,cheap\n')
    with caplog.at_level(logging.WARNING, "dive"):
        read("x,price\n" + "".join(f"{i},{i}\n" for i in range(9)) + "n.a.,3\n?,4\n")
    assert "x has 2 texts among its numbers, such as 'n.a.' in line 11" in caplog.text
    for suffix, magic in (
        (".xz", b"\xfd7zXZ\0"),
        (".gz", b"\x1f\x8b\x08"),
        (".bz2", b"BZh9"),
        (".zip", b"PK\3\4"),
        (".tar", b"x"),
        (".zst", b"(\xb5/\xfd"),
        (".tar.gz", b"\x1f\x8b"),
    ):
        with pytest.raises(DataError, match="not a CSV file: "):
            read(magic + b"garbage" * 30, f"t.csv{suffix}")
    outcome("one line that names the column, line or file; texts among numbers are logged")


def test_a_compressed_file_is_sized_by_its_content(tmp_path: Path) -> None:
    text = b"x,price\n" + b"1,2\n" * 100_000
    Path("t.csv").write_bytes(text)
    Path("t.csv.gz").write_bytes(gzip.compress(text))
    Path("t.csv.bz2").write_bytes(bz2.compress(text))
    Path("t.csv.xz").write_bytes(lzma.compress(text))
    with zipfile.ZipFile("t.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", text)
    with tarfile.open("t.tar.gz", "w:gz") as tar:
        tar.add("t.csv")
    for name in ("t.csv", "t.csv.gz", "t.csv.bz2", "t.csv.xz", "t.csv.zip", "t.tar.gz"):
        assert len(text) <= csv_reader.uncompressed_size(Path(name)) <= len(text) + 20_480, name
    data = CSVDataModule("t.csv.gz", "price", 0.25, 0, True, batch_size=8)
    assert data.num_bytes == 4 * len(text)


def test_a_sweep_trains_a_damaged_job_again(sweep: Path, tmp_path: Path, train_py: TrainPy) -> None:
    shutil.copytree(sweep, tmp_path / "multirun" / "s")
    job = tmp_path / "multirun" / "s" / "seed=0"
    for name, content in (("result.json", b"{"), ("config.yaml", b"\xff")):
        (job / name).write_bytes(content)
        assert load_table(job.parent).failed["job"].tolist() == ["seed=0"]
        assert load_table(job.parent).jobs.set_index("job").loc["seed=0", "status"] == "damaged"
        assert train_py("-m", *TINY, "callbacks=lean", "seed=0,1", "sweep=s") == ""
        assert load_table(job.parent).jobs["score"].tolist() == load_table(sweep).jobs["score"].tolist()
    (job.parent / "sweep.json").write_text("[]")
    with pytest.raises(RunError, match="is corrupt"):
        load_table(job.parent)
