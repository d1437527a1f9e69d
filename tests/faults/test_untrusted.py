"""Runs and sweeps of somebody else that try to run code, to write elsewhere, or to choose a server."""

import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pytorch_lightning import callbacks
from rich.console import Console

import dive
from dive.config.compose import compose_resolved
from dive.config.validation import validate_config
from dive.errors import CONTROL_CHARACTER, ConfigError, RunError, UserError
from dive.evaluation.compare import compare, find_runs
from dive.evaluation.evaluate import evaluate_run
from dive.evaluation.reproduce import reproduce
from dive.runs import checkpoint_io
from dive.runs.plain_yaml import dump_plain
from dive.runs.record import read_config
from dive.sweeps import report

ROOT = Path(__file__).parents[2]
TINY = ("model=linear_regression", "data.num_train=32", "data.num_val=32", "trainer.max_epochs=2")

Outcome = Callable[[str], None]
TrainOnce = Callable[..., Any]

# Code that a hostile file would run.
TOUCH = "{_target_: torch.save, obj: 1, f: canary}"


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory with a neighbor that no run may touch."""
    (tmp_path / "work").mkdir()
    (tmp_path / "neighbor").mkdir()
    (tmp_path / "neighbor" / "thesis.txt").write_text("precious")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def nothing_escaped(tmp_path: Path) -> Callable[[], None]:
    """Assert that no canary exists and that the neighbor is untouched."""

    def check() -> None:
        assert not list(tmp_path.rglob("*canary*"))
        assert [path.name for path in (tmp_path / "neighbor").iterdir()] == ["thesis.txt"]
        assert (tmp_path / "neighbor" / "thesis.txt").read_text() == "precious"

    return check


@pytest.fixture
def run(train_once: TrainOnce) -> Path:
    """A finished run that anybody may have edited."""
    directory: Path = train_once(*TINY).directory
    return directory


@pytest.fixture
def train_py(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
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


def replace_config(run: Path, **changed: Any) -> None:
    (run / "config.yaml").write_text(dump_plain(read_config(run) | changed))


@pytest.mark.fault(
    28, "Hydra files in the directory of an untrusted run", "`hydra/launcher/basic.yaml` beside config.yaml"
)
def test_hydra_does_not_read_the_directory_of_a_run(
    run: Path, nothing_escaped: Callable[[], None], outcome: Outcome
) -> None:
    (run / "hydra" / "launcher").mkdir(parents=True)
    (run / "hydra" / "launcher" / "basic.yaml").write_text(f"defaults: [/evil]\nx: {TOUCH}\n")
    (run / "evil.yaml").write_text(f"# @package hydra.callbacks\nx: {TOUCH}\n")
    (run / "hydra" / "job_logging").mkdir()
    (run / "hydra" / "job_logging" / "none.yaml").write_text(
        "version: 1\nhandlers: {x: {class: logging.FileHandler, filename: canary}}\nroot: {handlers: [x]}\n"
    )
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", f"resume={run}", "trainer.max_epochs=3"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    nothing_escaped()
    outcome("not read: Hydra gets a temporary folder with the checked config.yaml alone; the run resumes")


NOT_PLAIN = {
    "pairs": "!!pairs [{_target_: torch.save}, {obj: 1}, {f: canary}]",
    "omap": "!!omap [{_target_: torch.save}]",
    "set": "!!set {canary}",
    "timestamp": "!!timestamp 2020-01-01",
    "binary": "!!binary Y2FuYXJ5",
    "python tuple": "!!python/tuple [1, 2]",
    "circular": "&a [*a]",
    "deep": "[" * 400 + "]" * 400,
    "very deep": "[" * 20_000 + "]" * 20_000,
    "aliases": "[&a [x, x], &b [*a, *a], &c [*b, *b], &d [*c, *c], &e [*d, *d], &f [*e, *e], &g [*f, *f],"
    "&h [*g, *g], &i [*h, *h], &j [*i, *i], &k [*j, *j], &l [*k, *k], &m [*l, *l], &n [*m, *m], &o [*n, *n],"
    "&p [*o, *o], &q [*p, *p]]",
    "huge number": "1" * 5000,
    "control characters": '"\\e[2J"',
}


@pytest.mark.fault(29, "config.yaml with more than plain data", f"YAML: {', '.join(NOT_PLAIN)}")
def test_only_plain_data_are_accepted(
    run: Path, train_py: Callable[..., str], nothing_escaped: Callable[[], None], outcome: Outcome
) -> None:
    text = (run / "config.yaml").read_text()
    for name, value in NOT_PLAIN.items():
        (run / "config.yaml").write_text(f"{text}note: {value}\n")
        messages = [train_py(f"resume={run}")]
        for tool in (evaluate_run, lambda directory: reproduce(directory, Path("again"))):
            with pytest.raises(UserError) as caught:
                tool(run)
            messages.append(str(caught.value))
        for message in messages:
            assert "config.yaml is corrupt: " in message, (name, message)
            assert "\n" not in message
            assert len(message) < 500
    nothing_escaped()
    outcome(
        "`config.yaml is corrupt: ...`, one line, by train.py, evaluate.py and reproduce.py; nothing was called"
    )


PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")


@pytest.mark.fault(
    30,
    "paths in the state of a checkpoint",
    "callback states that name a neighboring directory, `..`, or no dirpath",
)
@pytest.mark.parametrize("with_dirpath", [True, False])
@pytest.mark.parametrize("target", ["checkpoints/../../neighbor", "checkpoints/..", "/absolute"])
def test_resuming_removes_nothing_outside_the_run(
    target: str,
    with_dirpath: bool,
    run: Path,
    tmp_path: Path,
    train_py: Callable[..., str],
    nothing_escaped: Callable[[], None],
    outcome: Outcome,
) -> None:
    checkpoint = "pytorch_lightning.callbacks.ModelCheckpoint"
    config = read_config(run)
    config["callbacks"]["more"] = {
        "_target_": checkpoint,
        "monitor": "val/loss",
        "filename": "more",
        "save_last": True,
    }
    config["trainer"]["max_epochs"] = 4
    replace_config(run, **config)
    # Lightning removes only what its folder is lexically a parent of, which `..` evades.
    path = str(tmp_path / "neighbor") if target == "/absolute" else f"{run}/{target}"
    saved = checkpoint_io.load_checkpoint(run / "checkpoints" / "last.ckpt")
    hostile = {
        "monitor": "val/loss",
        "best_model_score": torch.tensor(1e9),
        "current_score": torch.tensor(1e9),
        "kth_value": torch.tensor(1e9),
        "best_k_models": {path: torch.tensor(1e9)},
        **dict.fromkeys(PATHS, path),
        **({"dirpath": str(run / "checkpoints")} if with_dirpath else {}),
    }
    states = {key: hostile for key in saved["callbacks"] if "Checkpoint" in key}
    more = callbacks.ModelCheckpoint(monitor="val/loss", filename="more", save_last=True)
    key = more.state_key
    checkpoint_io.save_checkpoint(
        saved | {"callbacks": saved["callbacks"] | states | {key: hostile}, "config": None},
        run / "checkpoints" / "last.ckpt",
    )
    assert train_py(f"resume={run}") == ""
    nothing_escaped()
    assert (run / "checkpoints" / "more.ckpt").is_file()
    outcome("paths are replaced by those of the run's own checkpoints; nothing outside is removed or written")


WRITING = {
    "filename: '{step:c}x'": "pytorch_lightning.callbacks.ModelCheckpoint",
    "filename: ../canary": "pytorch_lightning.callbacks.ModelCheckpoint",
    "filename: a/b": "pytorch_lightning.profilers.SimpleProfiler",
    "exclude_batches_path: canary": "pytorch_lightning.callbacks.SpikeDetection",
    "dirpath: /tmp": "pytorch_lightning.callbacks.OnExceptionCheckpoint",
    "port: 1": "pytorch_lightning.profilers.XLAProfiler",
}


@pytest.mark.fault(31, "arguments of allowed classes that are paths", "; ".join(WRITING))
def test_arguments_cannot_name_other_places(outcome: Outcome) -> None:
    config = compose_resolved(*TINY)
    for arguments, target in WRITING.items():
        node = {"_target_": target, **yaml.safe_load(arguments)}
        with pytest.raises(ConfigError, match=r"must be a plain file name|must be null|not allowed"):
            validate_config(config | {"callbacks": {"more": node}})
    outcome("rejected before anything is built")


@pytest.mark.fault(32, "symbolic links in a sweep that is rerun", "a job, its checkpoint or its log is a link")
@pytest.mark.parametrize("launcher", ["serial", "joblib"])
def test_a_rerun_sweep_does_not_follow_links(
    launcher: str,
    tmp_path: Path,
    train_py: Callable[..., str],
    nothing_escaped: Callable[[], None],
    outcome: Outcome,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("-m", *TINY, "trainer=cpu", "callbacks=lean", "seed=0,1", f"launcher={launcher}", "sweep=lr")
    sweep = Path("multirun/lr")
    assert train_py(*command) == ""
    for name in ("metrics.csv", "train.log"):
        for job in ("seed=0", "seed=1"):
            (sweep / job / "result.json").write_text('{"status": "interrupted"}')
        (sweep / "seed=0" / name).unlink()
        (sweep / "seed=0" / name).symlink_to(tmp_path / "neighbor" / "canary")
        assert train_py(*command) == ""
        assert f"{name} is a symbolic link; " in (output := " ".join(capsys.readouterr().out.split()))
        assert "starting over, the old run was moved to" in output
    (sweep / "seed=1").rename(tmp_path / "elsewhere")
    (sweep / "seed=1").symlink_to(tmp_path / "elsewhere")
    assert train_py(*command).endswith(
        f"seed=1 is a symbolic link; {sweep.absolute()} may contain only files and folders"
    )
    nothing_escaped()
    outcome("the job starts over or the sweep stops: `... is a symbolic link`; its target is not touched")


def test_a_rerun_sweep_does_not_wait_for_a_pipe(
    train_py: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("-m", *TINY, "trainer=cpu", "callbacks=lean", "seed=0,1", "sweep=pipe")
    assert train_py(*command) == ""
    sweep = Path("multirun/pipe")
    (sweep / "seed=0" / "result.json").write_text('{"status": "interrupted"}')
    (sweep / "seed=0" / "train.log").unlink()
    os.mkfifo(sweep / "seed=0" / "train.log")
    assert train_py(*command) == ""
    assert "train.log is not a regular file; " in " ".join(capsys.readouterr().out.split())
    assert json.loads((sweep / "seed=0" / "result.json").read_text())["status"] == "finished"
    os.mkfifo(sweep / "study.db")
    assert "study.db is not a regular file" in train_py(*command)


@pytest.mark.fault(
    33, "a server in the record of an untrusted run", "data.mirror of a local server in config.yaml"
)
def test_a_record_does_not_choose_a_server(
    run: Path, serve: Callable[..., Any], train_py: Callable[..., str], outcome: Outcome
) -> None:
    server = serve(lambda _, __: [b"HTTP/1.0 404 Not Found\r\n\r\n"])
    images = compose_resolved("model=mlp", "trainer=cpu", f"data.mirror={server.url}", "data.root=data")
    (run / "config.yaml").write_text(dump_plain(images))
    for path in (run / "checkpoints").iterdir():
        checkpoint_io.save_checkpoint(checkpoint_io.load_checkpoint(path) | {"config": images}, path)
    messages = [train_py(f"resume={run}")]
    for tool in (evaluate_run, lambda directory: reproduce(directory, Path("again"))):
        with pytest.raises(UserError) as caught:
            tool(run)
        messages.append(str(caught.value))
    assert not server.requests
    assert all("data.mirror=URL" in message for message in messages), messages
    train_py(f"resume={run}", f"data.mirror={server.url}")
    assert server.requests, "a mirror that the user names is used"
    outcome(
        "not contacted by train.py, evaluate.py and reproduce.py; `data.mirror=URL` on the command line is used"
    )


@pytest.mark.fault(
    34,
    "control characters in a record",
    "names, errors, metrics, commands and versions with ESC, BEL and bidirectional marks",
)
def test_texts_from_records_are_printable(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], outcome: Outcome
) -> None:
    evil = "\x1b[2J\x07\u202e|<img/src=x>[a](b)`"
    for name in ("a", "b"):
        job = tmp_path / "sweep" / name
        job.mkdir(parents=True)
        (job / "config.yaml").write_text(dump_plain({"seed": 0, "monitor": "val/loss"}))
        metrics = {"best": {f"val/loss{evil}": 1.0}, "final": {}}
        result = {
            "status": "finished" if name == "a" else "failed",
            "error": evil,
            "monitor": f"val/loss{evil}",
            "mode": "min",
            "score": 1.0,
            "metrics": metrics,
        }
        (job / "result.json").write_text(json.dumps(result))
        (job / "environment.json").write_text(json.dumps({"host": evil + name, "python": evil}))
        (job / "metrics.csv").write_text(f"step,epoch,val/loss{evil}\n1,0,2.0\n")
    manifest = {
        "varied": [f"x{evil}"],
        "jobs": {name: {"number": 0, "overrides": [f"x{evil}={evil}{name}"]} for name in "ab"},
    }
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(manifest))
    table = report.write_report(tmp_path / "sweep")
    console = Console(file=io.StringIO(), width=200)
    report.print_report(table, console)
    for section in compare(find_runs([tmp_path / "sweep"])).tables(200):
        console.print(section)
    texts = [console.file.getvalue(), report.failure_summary(table, {"a", "b"})]  # type: ignore[attr-defined]
    texts += [(tmp_path / "sweep" / f"report.{suffix}").read_text() for suffix in ("md", "html", "csv")]
    (run / "command.txt").write_text(f"python train.py {evil}\n")
    reproduce(run, tmp_path / "again")
    texts.append(capsys.readouterr().out)
    for text in texts:
        assert not CONTROL_CHARACTER.search(text.replace("\n", "").replace("\t", "")), text
    assert "<img/src=x" not in texts[3]
    assert not re.search(r"(?m)^(?!    ).*<img", texts[2]), "only in code blocks"
    outcome("escaped on the terminal, in report.md, report.html and report.csv: `\\x1b[2J`")


@pytest.mark.parametrize("path", ["seed=0", "study.db", ".earlier"])
def test_a_sweep_with_a_link_is_not_opened(path: str, tmp_path: Path, train_py: Callable[..., str]) -> None:
    Path("multirun/lr").mkdir(parents=True)
    Path("multirun/lr", path).symlink_to(tmp_path / "neighbor")
    message = train_py("-m", *TINY, "seed=0,1", "sweep=lr")
    assert f"{path} is a symbolic link; " in message


def test_a_link_of_the_user_to_the_sweep_is_followed(tmp_path: Path, train_py: Callable[..., str]) -> None:
    (tmp_path / "disk").mkdir()
    Path("multirun").symlink_to(tmp_path / "disk")
    assert train_py("-m", *TINY, "trainer=cpu", "callbacks=lean", "seed=0,1", "sweep=lr") == ""
    assert (tmp_path / "disk" / "lr" / "seed=0" / "result.json").is_file()


def test_removing_a_checkpoint_outside_the_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not in the run directory"):
        checkpoint_io.AtomicCheckpointIO(Path("run")).remove_checkpoint(tmp_path / "neighbor" / "thesis.txt")
    assert (tmp_path / "neighbor" / "thesis.txt").exists()


@pytest.mark.fault(
    32,
    "job directories in a sweep that is rerun",
    "a job renamed to `${oc.env:CANARY}`, which Hydra would resolve",
)
def test_names_of_job_directories_are_not_interpolated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train_py: Callable[..., str],
    nothing_escaped: Callable[[], None],
    outcome: Outcome,
) -> None:
    monkeypatch.setenv("CANARY", str(tmp_path / "neighbor" / "canary"))
    command = ("-m", *TINY, "trainer=cpu", "callbacks=lean", "seed=0,1", "sweep=lr")
    assert train_py(*command) == ""
    job = Path("multirun/lr/seed=0").rename("multirun/lr/${oc.env:CANARY}")
    (job / "result.json").write_text('{"status": "failed"}')
    assert train_py(*command) == ""
    nothing_escaped()
    assert json.loads(Path("multirun/lr/seed=0/result.json").read_text())["status"] == "finished"
    outcome("the directory is ignored; the job is trained again under its own name")


def test_log_messages_are_printable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.csv").write_text("x\x1b[2J,price\n" + "".join(f"{i},{i}\n" for i in range(30)) + "foo,3\n")
    dive.train(
        [
            "model=linear_regression",
            "data=house_tiny",
            "data.path=t.csv",
            "data.target=price",
            "trainer=cpu",
            "callbacks=lean",
            "trainer.max_epochs=1",
            "hydra.run.dir=run",
        ]
    )
    out = capsys.readouterr().out
    log = Path("run/train.log").read_text()
    for text in (out, log):
        assert "x\\x1b[2J has 1 texts among its numbers" in text
        assert "\x1b" not in text
