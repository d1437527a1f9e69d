"""Untrusted search databases, nested containers and records that a security review found to be dangerous."""

import json
import shutil
import sqlite3
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dive import train
from dive.errors import ConfigError, RunError
from dive.evaluation.compare import compare_and_plot
from dive.runs import checkpoint_io
from dive.runs.record import read_config
from dive.sweeps import report
from dive.sweeps.results_table import load_table
from dive.sweeps.study import open_study
from dive.sweeps.sweep import Sweep

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # SQLAlchemy 1.4 about Optuna 2
    import optuna
    from optuna.distributions import CategoricalDistribution, UniformDistribution
    from optuna.trial import TrialState

pytestmark = [
    pytest.mark.filterwarnings("ignore:Deprecated API features detected"),
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
]

TINY = (
    "model=linear_regression",
    "data.num_train=32",
    "data.num_val=32",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "callbacks=lean",
)
SPACE = {"optimizer.lr": UniformDistribution(0.01, 0.03)}
Outcome = Callable[[str], None]


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A study with one finished trial."""
    path = tmp_path / "study.db"
    assert open_study(path, "minimize", SPACE, {}) == []
    study = optuna.load_study("study", f"sqlite:///{path}")
    study.add_trial(optuna.trial.create_trial(params={"optimizer.lr": 0.02}, distributions=SPACE, value=1.0))
    return path


def add_unfinished(path: Path, params: dict[str, Any], distributions: dict[str, Any], **others: Any) -> None:
    study = optuna.load_study("study", f"sqlite:///{path}")
    study.add_trial(
        optuna.trial.create_trial(
            state=others.pop("state", TrialState.RUNNING), params=params, distributions=distributions, **others
        )
    )


HOOK = '{GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: core.fsmonitor, GIT_CONFIG_VALUE_0: "touch canary"}'


@pytest.mark.fault(
    39, "an untrusted search database", "unfinished trials in study.db with parameters that are not searched"
)
@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.WAITING])
@pytest.mark.parametrize(
    ("name", "value"),
    [("+hydra.job.env_set", HOOK), ("hydra.sweep.dir", "/nowhere"), ("data.mirror", "http://x"), ("seed", "5")],
)
def test_a_database_adds_no_overrides(
    name: str, value: str, state: TrialState, database: Path, outcome: Outcome
) -> None:
    other = {name: CategoricalDistribution([value])}
    add_unfinished(database, {"optimizer.lr": 0.02, name: value}, SPACE | other, state=state)
    trials = open_study(database, "minimize", SPACE, {"seed": "0"})
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, state]
    after = optuna.load_study("study", f"sqlite:///{database}").trials
    assert [trial.state for trial in after] == [TrialState.COMPLETE, TrialState.FAIL]
    outcome("recorded as failed, not run")


@pytest.mark.parametrize(
    ("params", "distributions", "others"),
    [
        ({"optimizer.lr": 500.0}, {"optimizer.lr": UniformDistribution(0.01, 1000)}, {}),
        ({}, {}, {"user_attrs": {"model": "mlp"}}),
        ({}, {}, {"system_attrs": {"fixed_params": {"optimizer.lr": 500}}}),
    ],
)
def test_an_unfinished_trial_outside_of_the_search_is_not_resumed(
    params: dict[str, Any], distributions: dict[str, Any], others: dict[str, Any], database: Path
) -> None:
    add_unfinished(database, params, distributions, **others)
    open_study(database, "minimize", SPACE, {})
    assert optuna.load_study("study", f"sqlite:///{database}").trials[-1].state is TrialState.FAIL


def test_an_interrupted_trial_of_the_search_is_resumed(database: Path) -> None:
    add_unfinished(database, {"optimizer.lr": 0.011}, SPACE, user_attrs={"seed": "0"})
    open_study(database, "minimize", SPACE, {"seed": "0"})
    assert optuna.load_study("study", f"sqlite:///{database}").trials[-1].state is TrialState.WAITING


def test_a_value_edited_out_of_its_range_is_not_resumed(database: Path) -> None:
    add_unfinished(database, {"optimizer.lr": 0.011}, SPACE)
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE trial_params SET param_value = 500 WHERE trial_id = 2")
    open_study(database, "minimize", SPACE, {})
    assert optuna.load_study("study", f"sqlite:///{database}").trials[-1].state is TrialState.FAIL


DAMAGE = (
    "UPDATE trials SET state = 'BOGUS'",
    "UPDATE trials SET datetime_start = 'not a date'",
    "UPDATE trial_params SET distribution_json = '{'",
    f"UPDATE trial_params SET distribution_json = '{'[' * 200_000}'",
    'UPDATE trial_params SET distribution_json = \'{"name": "Other", "attributes": {}}\'',
    "UPDATE study_directions SET direction = 'BOGUS'",
    "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
    "CREATE VIEW v AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
    "INSERT INTO trials WITH RECURSIVE r(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM r WHERE n < 200000) "
    "SELECT n, n, 1, 'FAIL', '2026-01-01 00:00:00', NULL FROM r",
)


@pytest.mark.fault(39, "an untrusted search database", "invalid rows; a recursive view; a trigger; 200,000 trials")
@pytest.mark.parametrize("statement", DAMAGE, ids=lambda statement: statement[:40])
def test_a_damaged_database_is_reported_in_one_line(statement: str, database: Path, outcome: Outcome) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    with pytest.raises(RunError, match=r"study\.db is corrupt or locked \(.*\); if no other") as error:
        open_study(database, "minimize", SPACE, {})
    assert "\n" not in str(error.value)
    outcome("`study.db is corrupt or locked (...)`")


def shared(levels: int, kind: type) -> Any:
    node: Any = kind()
    for _ in range(levels):
        node = [node, node] if kind is list else {"a": node, "b": node}
    return node


def cyclic() -> list[Any]:
    node: list[Any] = []
    node.append(node)
    return node


@pytest.mark.fault(
    40,
    "an untrusted checkpoint",
    "shared, cyclic and deep containers; a zip file with overlapping records",
)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"zz": shared(40, list)}, "has more than 10000000 values"),
        ({"loops": {"fit_loop": shared(40, dict)}}, "has more than 10000000 values"),
        ({"zz": cyclic()}, "nested more than 100 levels"),
        ({"callbacks": {"x": {"y": shared(101, list)}}}, "nested more than 100 levels|more than 10000000 values"),
        ({"pytorch-lightning_version": "0.1.0"}, "pytorch-lightning_version: is below 2"),
        ({"global_step": -1}, "must not be negative"),
    ],
)
def test_a_checkpoint_with_unlimited_nesting_is_rejected(
    content: dict[str, Any], message: str, tmp_path: Path, outcome: Outcome
) -> None:
    torch.save({"state_dict": {}, **content}, tmp_path / "x.ckpt")
    with pytest.raises(RunError, match=f"x.ckpt is rejected: .*{message}"):
        checkpoint_io.load_checkpoint(tmp_path / "x.ckpt")
    outcome("one line: `it has more than 10000000 values`, `its records overlap`")


def test_overlapping_records_are_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(10_000)}}, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        archive.filelist += [largest] * 50
        archive._didModify = True  # type: ignore[attr-defined]  # write the directory again
    with pytest.raises(checkpoint_io.CorruptCheckpointError, match="its records overlap"):
        checkpoint_io.load_checkpoint(path)


@pytest.fixture
def run() -> Path:
    return train(TINY).directory


@pytest.mark.fault(
    41, "untrusted records", "best.ckpt of another run; metrics above 1e300; numbers as keys; num_nodes=2"
)
def test_the_best_checkpoint_of_another_run_is_rejected(run: Path, outcome: Outcome) -> None:
    other = train([*TINY, "seed=1"]).directory
    shutil.copy(other / "checkpoints" / "best.ckpt", run / "checkpoints" / "best.ckpt")
    with pytest.raises(RunError, match=r"best\.ckpt is from another run: seed: 1 -> 0"):
        train([f"resume={run}", "trainer.max_epochs=3"])
    outcome("`best.ckpt is from another run`, one line, a damaged job, or a value that is shown as infinite")


def test_the_score_is_that_of_the_checkpoint_and_not_of_an_edited_table(run: Path) -> None:
    lines = (run / "metrics.csv").read_text().splitlines()
    columns = lines[0].split(",")
    values = lines[1].split(",")
    values[columns.index("val/loss")] = "0.0001"
    (run / "metrics.csv").write_text("\n".join([lines[0], ",".join(values), *lines[2:]]) + "\n")
    result = train([f"resume={run}", "trainer.max_epochs=3"]).result
    assert result["score"] > 0.0001
    assert result["score"] == result["metrics"]["best"]["val/loss"]


@pytest.mark.parametrize("values", [("1e308", "-1e308"), ("nan", "inf")])
def test_huge_metrics_can_be_compared_and_reported(
    values: tuple[str, str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (run / "metrics.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:3]]
    for row, value in zip(rows, values, strict=True):
        row[lines[0].split(",").index("val/loss")] = value
    (run / "metrics.csv").write_text("\n".join([lines[0], *map(",".join, rows)]) + "\n")
    compare_and_plot([run, train([*TINY, "seed=1"]).directory], tmp_path / "curves.png")
    train([f"resume={run}", "trainer.max_epochs=3"])
    capsys.readouterr()


@pytest.mark.parametrize("line", ["1: 2\n", "extra: {2: 3}\n", "extra: [{null: 3}]\n"])
def test_a_key_that_is_no_string_damages_one_job_only(line: str, run: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    for job in ("seed=0", "seed=1"):
        shutil.copytree(run, sweep / job)
    with (sweep / "seed=0" / "config.yaml").open("a") as file:
        file.write(line)
    jobs = {job: {"number": i, "overrides": [job]} for i, job in enumerate(("seed=0", "seed=1"))}
    (sweep / "sweep.json").write_text(json.dumps({"varied": ["seed"], "jobs": jobs}))
    report.write_report(sweep)
    statuses = load_table(sweep).jobs.set_index("job")["status"]
    assert (statuses["seed=0"], statuses["seed=1"]) == ("damaged", "finished")
    with Sweep(sweep):
        pass
    with pytest.raises(RunError, match=r"is corrupt: the key \S+ is not a string"):
        read_config(sweep / "seed=0")


def test_two_nodes_need_a_launcher() -> None:
    with pytest.raises(ConfigError, match=r"num_nodes=2: start it with SLURM or torchrun, or set MASTER_ADDR"):
        train([*TINY, "+trainer.num_nodes=2"])


@pytest.mark.parametrize("name", ["mean", "std", "n", "error"])
@pytest.mark.parametrize("overridden", [False, True])
def test_a_column_of_the_report_is_no_key_that_varies(name: str, overridden: bool, tmp_path: Path) -> None:
    jobs = {"a": {"number": 0, "overrides": [f"{name}=1"]}} if overridden else {}
    (tmp_path / "sweep.json").write_text(json.dumps({"varied": [] if overridden else [name], "jobs": jobs}))
    with pytest.raises(RunError, match=f"'{name}' is not a key that varies"):
        load_table(tmp_path)
