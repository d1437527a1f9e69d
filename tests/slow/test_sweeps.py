"""Sweeps through train.py: rerun, interrupted, with jobs that fail or are killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dive.sweeps.job import HPARAMS_FILE

ROOT = Path(__file__).parents[2]
SMALL = ("data=garments", "data.num_train=1024", "data.num_test=256", "data.val_size=256", "trainer=cpu")
COMMAND = [sys.executable, str(ROOT / "train.py"), "-m", "model=mlp", "callbacks=lean", *SMALL]


@pytest.fixture(autouse=True)
def run_in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps are written to ``multirun`` in the temporary directory of the test."""
    monkeypatch.chdir(tmp_path)


def run_sweep(*overrides: str) -> subprocess.CompletedProcess[str]:
    """Run a sweep to its end."""
    return subprocess.run([*COMMAND, *overrides], capture_output=True, text=True, timeout=240)


def start_sweep(*overrides: str) -> subprocess.Popen[str]:
    """Start a sweep in its own process group."""
    return subprocess.Popen(
        [*COMMAND, *overrides], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until(condition: Callable[[], Any]) -> Any:
    """Wait until a condition is true, and return its value."""
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def results(sweep: str) -> dict[str, dict[str, Any]]:
    """Results by job name."""
    return {
        path.parent.name: json.loads(path.read_text()) for path in Path("multirun", sweep).glob("*/result.json")
    }


def modification_times(*jobs: Path) -> dict[Path, int]:
    """Modification times of all files of these runs, except the HParams file that the report writes."""
    paths = [path for job in jobs for path in job.rglob("*") if path.is_file() and path.name != HPARAMS_FILE]
    return {path: path.stat().st_mtime_ns for path in paths}


def pids(sweep: str) -> list[int]:
    """Process ids of jobs that have started."""
    records = Path("multirun", sweep).glob("*/environment.json")
    return [json.loads(path.read_text())["pid"] for path in records]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def killed_afterwards() -> Iterator[list[subprocess.Popen[str]]]:
    """Sweeps to kill at the end of the test, even if it fails."""
    sweeps: list[subprocess.Popen[str]] = []
    yield sweeps
    for sweep in sweeps:
        if sweep.poll() is None:
            os.killpg(sweep.pid, signal.SIGKILL)
        sweep.communicate()


def test_failed_jobs_do_not_affect_others_and_only_they_are_rerun() -> None:
    grid = ("optimizer.lr=0.1,1e30", "data.val_size=128,256,100000", "trainer.max_epochs=1", "sweep=lr")
    first = run_sweep(*grid)
    assert first.returncode == 1
    assert "4 of 6 jobs failed:" in first.stderr
    assert "data.val_size=100000,optimizer.lr=0.1: data.val_size=100000: must be below the 1024" in first.stderr
    assert re.search(r"to rerun the first one: python train\.py .*optimizer\.lr=1e\+30", first.stderr)
    assert "Traceback" not in first.stderr
    scores = {name: result["score"] for name, result in results("lr").items() if result["status"] == "finished"}
    assert scores.keys() == {"data.val_size=128,optimizer.lr=0.1", "data.val_size=256,optimizer.lr=0.1"}

    report = pd.read_csv("multirun/lr/report.csv")
    assert list(report["status"]) == ["finished"] * 2 + ["failed"] * 4
    assert list(report["score"][:2]) == sorted(scores.values(), reverse=True)
    assert sum("val/loss is nan" in error for error in report["error"][2:]) == 2
    assert 'src="data:image/png' in Path("multirun/lr/report.html").read_text()

    before = modification_times(*(Path("multirun/lr", name) for name in scores))
    again = run_sweep(*grid, "launcher=parallel")
    assert again.returncode == 1
    assert "6 jobs (2 already finished, 4 to start)" in again.stdout
    assert modification_times(*(Path("multirun/lr", name) for name in scores)) == before
    assert len(list(Path("multirun/lr/.earlier").iterdir())) == 4


def test_killed_sweep_resumes_interrupted_jobs_when_rerun(
    killed_afterwards: list[subprocess.Popen[str]],
) -> None:
    grid = ("seed=0,1,2", "trainer.max_epochs=30", "sweep=cut")
    sweep = start_sweep(*grid)
    killed_afterwards.append(sweep)
    wait_until(lambda: results("cut"))
    interrupted = wait_until(
        lambda: [
            path.parents[1]
            for path in Path("multirun/cut").glob("*/checkpoints/last.ckpt")
            if not (path.parents[1] / "result.json").exists()
        ]
    )[0]
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids("cut")))
    done = set(results("cut"))
    assert interrupted.name not in done
    before = modification_times(*(Path("multirun/cut", name) for name in done))

    again = run_sweep(*grid)
    assert again.returncode == 0, again.stderr
    assert f"3 jobs ({len(done)} already finished, 1 to resume, {2 - len(done)} to start)" in again.stdout
    assert {name: result["epochs"] for name, result in results("cut").items()} == {
        f"seed={i}": 30 for i in range(3)
    }
    assert modification_times(*(Path("multirun/cut", name) for name in done)) == before
    assert len((interrupted / "command.txt").read_text().splitlines()) == 2
    epochs = re.findall(r"epoch +(\d+) ", (interrupted / "train.log").read_text())
    assert len(set(epochs)) == 30
    assert len(epochs) <= 31, "only the interrupted epoch is trained twice"


def test_killed_and_interrupted_jobs_are_recorded_and_no_process_is_left(
    killed_afterwards: list[subprocess.Popen[str]],
) -> None:
    grid = (
        "seed=0,1,2",
        "trainer.max_epochs=100000",
        "sweep=stop",
        "launcher=parallel",
        "hydra.launcher.max_workers=2",
    )
    sweep = start_sweep(*grid)
    killed_afterwards.append(sweep)
    wait_until(lambda: len(list(Path("multirun/stop").glob("*/checkpoints/last.ckpt"))) == 2)
    os.kill(json.loads(Path("multirun/stop/seed=0/environment.json").read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: Path("multirun/stop/seed=2/checkpoints/last.ckpt").exists())
    assert results("stop") == {"seed=0": {"status": "killed", "error": "killed by SIGKILL (out of memory?)"}}

    sweep.send_signal(signal.SIGINT)
    out, _ = sweep.communicate(timeout=60)
    assert sweep.returncode == 130
    assert {name: result["status"] for name, result in results("stop").items()} == {
        "seed=0": "killed",
        "seed=1": "interrupted",
        "seed=2": "interrupted",
    }
    assert not any(alive(pid) for pid in pids("stop"))
    assert "Traceback" not in out
    assert "to resume, rerun: python" in out
    report = pd.read_csv("multirun/stop/report.csv").set_index("job")
    assert report.loc["seed=0", "error"].startswith("killed by SIGKILL")


def test_invalid_last_job_stops_the_sweep_before_the_first() -> None:
    invalid = run_sweep("model.num_hiddens=[8],[9.5]", "model.activation=relu,tahn", "sweep=typo")
    assert invalid.returncode == 1
    lines = invalid.stderr.strip().splitlines()
    assert lines[0].startswith("error: model: unknown activation 'tahn'; choose from elu, ")
    assert lines[1].startswith("model.num_hiddens=[9.5]: must be a list of integers (in model.activation=relu,")
    assert not list(Path("multirun/typo").glob("*/"))


def test_changed_configuration_is_reported_and_the_old_run_archived() -> None:
    run_sweep("seed=0,1", "trainer.max_epochs=1", "sweep=same")
    before = results("same")
    changed = run_sweep("seed=0,1,2", "trainer.max_epochs=2", "sweep=same")
    assert changed.returncode == 0
    assert "3 jobs (3 to start)" in changed.stdout, "a new value adds a job"
    assert "the configuration changed (trainer.max_epochs: 1 -> 2): starting over" in changed.stdout
    assert {result["epochs"] for result in results("same").values()} == {2}
    archived = {
        path.parent.name: json.loads(path.read_text())
        for path in Path("multirun/same/.earlier").glob("*/result.json")
    }
    assert archived == {f"{name}.1": result for name, result in before.items()}


def test_search_resumes_until_the_total_number_of_trials() -> None:
    optuna = pytest.importorskip("optuna")
    search = (
        "sweeper=optuna",
        "optimizer.lr=tag(log, interval(0.01, 1))",
        "trainer.max_epochs=1",
        "sweep=search",
    )
    assert run_sweep(*search, "hydra.sweeper.n_trials=3").returncode == 0
    again = run_sweep(*search, "hydra.sweeper.n_trials=5")
    assert "search of 5 trials, 3 already evaluated" in again.stdout
    study = optuna.load_study(study_name="study", storage="sqlite:///multirun/search/study.db")
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE"] * 5
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 5
    scores = [result["score"] for result in results("search").values() if result["status"] == "finished"]
    assert study.best_value == max(scores)
    assert study.direction.name == "MAXIMIZE"


def test_search_with_only_failed_trials_reports_them() -> None:
    pytest.importorskip("optuna")
    done = run_sweep(
        "sweeper=optuna", "optimizer.lr=interval(1e29, 1e30)", "hydra.sweeper.n_trials=2", "sweep=lost"
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "2 of 2 jobs failed:" in done.stderr


def test_joblib_launcher_runs_a_sweep_with_failed_jobs() -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = run_sweep(
        "launcher=joblib", "optimizer.lr=0.1,1e30", "seed=0,1", "trainer.max_epochs=1", "sweep=joblib"
    )
    assert done.returncode == 1
    assert "2 of 4 jobs failed:" in done.stderr
    statuses = {name: result["status"] for name, result in results("joblib").items()}
    assert statuses == {
        "optimizer.lr=0.1,seed=0": "finished",
        "optimizer.lr=0.1,seed=1": "finished",
        "optimizer.lr=1e+30,seed=0": "failed",
        "optimizer.lr=1e+30,seed=1": "failed",
    }
