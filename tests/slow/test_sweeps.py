"""Sweeps through train.py, as people say them: again, interrupted, with jobs that fail or are killed."""

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
FEW = ("data=garments", "data.num_train=1024", "data.num_test=256", "data.val_size=256", "trainer=cpu")
COMMAND = [sys.executable, str(ROOT / "train.py"), "-m", "model=mlp", *FEW]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps go to ``multirun`` in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def said(*overrides: str) -> subprocess.CompletedProcess[str]:
    """A sweep, run to its end."""
    return subprocess.run([*COMMAND, *overrides], capture_output=True, text=True, timeout=240)


def started(*overrides: str) -> subprocess.Popen[str]:
    """A sweep under way, in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *overrides], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def until(condition: Callable[[], Any]) -> Any:
    """What a condition comes to, once it holds."""
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def results(sweep: str) -> dict[str, dict[str, Any]]:
    """What jobs have left, by their names."""
    return {
        path.parent.name: json.loads(path.read_text()) for path in Path("multirun", sweep).glob("*/result.json")
    }


def files(*jobs: Path) -> dict[Path, int]:
    """Every file of these runs, with the time of its last change; but for what a report writes beside them."""
    found = [path for job in jobs for path in job.rglob("*") if path.is_file() and path.name != HPARAMS_FILE]
    return {path: path.stat().st_mtime_ns for path in found}


def pids(sweep: str) -> list[int]:
    """Of the processes that have run jobs."""
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
    """Sweeps that are to be gone when the test is, however it ends."""
    sweeps: list[subprocess.Popen[str]] = []
    yield sweeps
    for sweep in sweeps:
        if sweep.poll() is None:
            os.killpg(sweep.pid, signal.SIGKILL)
        sweep.communicate()


def test_a_failure_costs_only_itself_and_said_again_only_what_failed_is_tried_again() -> None:
    grid = ("optimizer.lr=0.1,1e30", "data.val_size=128,256,100000", "trainer.max_epochs=1", "sweep=lr")
    first = said(*grid)
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

    kept = files(*(Path("multirun/lr", name) for name in scores))
    again = said(*grid, "launcher=parallel")
    assert again.returncode == 1
    assert "6 jobs (2 already finished, 4 to start)" in again.stdout
    assert files(*(Path("multirun/lr", name) for name in scores)) == kept
    assert len(list(Path("multirun/lr/.earlier").iterdir())) == 4


def test_killed_as_a_whole_and_said_again_it_resumes_what_was_cut_off(
    killed_afterwards: list[subprocess.Popen[str]],
) -> None:
    grid = ("seed=0,1,2", "trainer.max_epochs=30", "sweep=cut")
    sweep = started(*grid)
    killed_afterwards.append(sweep)
    until(lambda: results("cut"))
    cut = until(
        lambda: [
            path.parents[1]
            for path in Path("multirun/cut").glob("*/checkpoints/last.ckpt")
            if not (path.parents[1] / "result.json").exists()
        ]
    )[0]
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.wait()
    until(lambda: not any(alive(pid) for pid in pids("cut")))
    done = set(results("cut"))
    assert cut.name not in done
    kept = files(*(Path("multirun/cut", name) for name in done))

    again = said(*grid)
    assert again.returncode == 0, again.stderr
    assert f"3 jobs ({len(done)} already finished, 1 to resume, {2 - len(done)} to start)" in again.stdout
    assert {name: result["epochs"] for name, result in results("cut").items()} == {
        f"seed={i}": 30 for i in range(3)
    }
    assert files(*(Path("multirun/cut", name) for name in done)) == kept
    assert len((cut / "command.txt").read_text().splitlines()) == 2
    epochs = re.findall(r"epoch +(\d+) ", (cut / "train.log").read_text())
    assert len(set(epochs)) == 30
    assert len(epochs) <= 31, "but for the epoch in which it was cut off, none was trained twice"


def test_a_job_that_is_killed_and_one_that_is_interrupted_are_recorded_and_nothing_is_left_running(
    killed_afterwards: list[subprocess.Popen[str]],
) -> None:
    grid = (
        "seed=0,1,2",
        "trainer.max_epochs=100000",
        "sweep=stop",
        "launcher=parallel",
        "hydra.launcher.max_workers=2",
    )
    sweep = started(*grid)
    killed_afterwards.append(sweep)
    until(lambda: len(list(Path("multirun/stop").glob("*/checkpoints/last.ckpt"))) == 2)
    os.kill(json.loads(Path("multirun/stop/seed=0/environment.json").read_text())["pid"], signal.SIGKILL)
    until(lambda: Path("multirun/stop/seed=2/checkpoints/last.ckpt").exists())
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


def test_a_typo_in_the_last_job_stops_the_sweep_before_the_first() -> None:
    refused = said("model.num_hiddens=[8],[9.5]", "model.activation=relu,tahn", "sweep=typo")
    assert refused.returncode == 1
    told = refused.stderr.strip().splitlines()
    assert told[0].startswith("error: model: unknown activation 'tahn'; choose from elu, ")
    assert told[1].startswith(
        "model.num_hiddens=[9.5]: must be a list of integers (in model.activation=relu,"
    )
    assert not list(Path("multirun/typo").glob("*/"))


def test_a_changed_configuration_is_told_and_the_old_run_kept() -> None:
    said("seed=0,1", "trainer.max_epochs=1", "sweep=same")
    before = results("same")
    changed = said("seed=0,1,2", "trainer.max_epochs=2", "sweep=same")
    assert changed.returncode == 0
    assert "3 jobs (3 to start)" in changed.stdout, "a new value adds a job"
    assert "the configuration changed (trainer.max_epochs: 1 -> 2): starting over" in changed.stdout
    assert {result["epochs"] for result in results("same").values()} == {2}
    kept = {
        path.parent.name: json.loads(path.read_text())
        for path in Path("multirun/same/.earlier").glob("*/result.json")
    }
    assert kept == {f"{name}.1": result for name, result in before.items()}


def test_a_search_goes_on_until_there_are_so_many_trials_in_all() -> None:
    optuna = pytest.importorskip("optuna")
    search = (
        "sweeper=optuna",
        "optimizer.lr=tag(log, interval(0.01, 1))",
        "trainer.max_epochs=1",
        "sweep=search",
    )
    assert said(*search, "hydra.sweeper.n_trials=3").returncode == 0
    again = said(*search, "hydra.sweeper.n_trials=5")
    assert "search of 5 trials, 3 already evaluated" in again.stdout
    study = optuna.load_study(study_name="study", storage="sqlite:///multirun/search/study.db")
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE"] * 5
    assert len({trial.params["optimizer.lr"] for trial in study.trials}) == 5
    scores = [result["score"] for result in results("search").values() if result["status"] == "finished"]
    assert study.best_value == max(scores)
    assert study.direction.name == "MAXIMIZE"


def test_a_search_in_which_all_trials_fail_says_so() -> None:
    pytest.importorskip("optuna")
    lost = said("sweeper=optuna", "optimizer.lr=interval(1e29, 1e30)", "hydra.sweeper.n_trials=2", "sweep=lost")
    assert lost.returncode == 1
    assert "Traceback" not in lost.stderr
    assert "2 of 2 jobs failed:" in lost.stderr


def test_joblib_s_workers_run_a_sweep_and_one_failure_costs_only_itself() -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = said("launcher=joblib", "optimizer.lr=0.1,1e30", "seed=0,1", "trainer.max_epochs=1", "sweep=joblib")
    assert done.returncode == 1
    assert "2 of 4 jobs failed:" in done.stderr
    statuses = {name: result["status"] for name, result in results("joblib").items()}
    assert statuses == {
        "optimizer.lr=0.1,seed=0": "finished",
        "optimizer.lr=0.1,seed=1": "finished",
        "optimizer.lr=1e+30,seed=0": "failed",
        "optimizer.lr=1e+30,seed=1": "failed",
    }
