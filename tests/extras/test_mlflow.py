"""What MLflow's own client reads of a run."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning.utilities import rank_zero_only

from dive.callbacks import TerminateOnNonFinite
from dive.errors import RunError
from dive.loggers import MLFlowLogger
from dive.loggers.history import read_rows
from dive.loggers.mlflow import RETRIES
from dive.runs.record import comparable_config, flatten

pytest.importorskip("mlflow", reason="pip install -e '.[loggers]'")

LINEAR = ("model=linear_regression", "trainer=cpu", "data.num_train=100", "data.num_val=50", "logger=mlflow")
Curves = dict[str, list[tuple[int, float]]]


@pytest.fixture
def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of the store in the working directory."""
    return client_of(folder, monkeypatch)


def client_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient((folder / "mlruns").as_uri())


def runs(client: Any) -> list[Any]:
    """Those of the experiment "dive", the oldest first."""
    experiment = client.get_experiment_by_name("dive")
    return sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.start_time)


def curves(client: Any, run: Any) -> Curves:
    """Each metric as steps and values."""
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def table(directory: Path) -> Curves:
    """The same, from the run's metrics.csv."""
    told: Curves = {}
    for step, row in read_rows(directory / "metrics.csv").items():
        for name, value in row.items():
            told.setdefault(name, []).append((step, value))
    return told


@pytest.fixture(scope="module")
def whole(ran: Callable[..., Any]) -> Any:
    """A run from the command line."""
    return ran("logger=mlflow")


def test_a_run_is_told_with_metrics_configuration_and_name(whole: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(whole.directory.parent, monkeypatch)
    (run,) = runs(client)
    told = curves(client, run)
    epochs = {name: [*dict.fromkeys(points)] for name, points in told.items()}  # `epoch` is told by each call
    assert epochs == table(whole.directory)
    assert len(told["val/loss"]) == 3
    config = yaml.safe_load((whole.directory / "config.yaml").read_text())
    assert run.data.params == {name: str(value)[:250] for name, value in flatten(comparable_config(config))}
    assert run.info.run_name == whole.directory.name
    assert run.info.status == "FINISHED"


def test_nobody_is_called(whole: Any) -> None:
    assert whole.calls == 0


def test_a_run_that_goes_on_is_the_same_run(train: Callable[..., Any], client: Any) -> None:
    begun = train(*LINEAR, "trainer.max_epochs=1")
    train(f"resume={begun.directory}", "trainer.max_epochs=3", directory=begun.directory)
    (run,) = runs(client)
    assert [step for step, _ in curves(client, run)["val/loss"]] == [3, 7, 11]
    assert run.info.status == "FINISHED"
    assert run.data.params["trainer.max_epochs"] == "1"  # as it began: told once


def test_what_was_told_after_the_checkpoint_is_not_told_again(folder: Path, client: Any) -> None:
    first = MLFlowLogger(folder / "run")
    (folder / "run").mkdir()
    for step in range(6):
        first.log_metrics({"val/loss": step / 2}, step)
    first.finalize("success")
    second = MLFlowLogger(folder / "run")
    second.truncate_after(4)
    for step in (4, 5, 6):
        second.log_metrics({"val/loss": step / 2}, step)
    (run,) = runs(client)
    assert curves(client, run)["val/loss"] == [(step, step / 2) for step in range(7)]
    third = MLFlowLogger(folder / "run")
    third.truncate_after(6)
    third.log_metrics({"val/loss": 9.0}, 6)  # another, since somebody has changed how it goes on
    assert curves(client, run)["val/loss"][-1] == (6, 9.0)


def test_a_run_that_fails_has_failed(train: Callable[..., Any], client: Any) -> None:
    with pytest.raises(RunError):
        train(*LINEAR, "optimizer.lr=1e30")
    (run,) = runs(client)
    assert run.info.status == "FAILED"


def test_a_run_that_is_stopped_was_killed(
    train: Callable[..., Any], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TerminateOnNonFinite, "on_train_epoch_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    with pytest.raises(SystemExit):
        train(*LINEAR)
    (run,) = runs(client)
    assert run.info.status == "KILLED"


@pytest.mark.parametrize("noted", ["0" * 32, "../../elsewhere", "", "of another run"])
def test_an_id_that_is_not_this_run_s_begins_another(noted: str, folder: Path, client: Any) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
    one, two = MLFlowLogger(folder / "one"), MLFlowLogger(folder / "two")
    one.log_metrics({"val/loss": 1.0}, 0)
    (folder / "two" / "mlflow.id").write_text(one.run_id if noted == "of another run" else noted)
    two.log_metrics({"val/loss": 2.0}, 0)
    assert [run.info.run_name for run in runs(client)] == ["one", "two"]
    assert (folder / "two" / "mlflow.id").read_text() == f"{two.run_id}\n"
    assert curves(client, runs(client)[0]) == {"val/loss": [(0, 1.0)]}


def test_the_store_is_the_one_of_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., Any]
) -> None:
    client = client_of(folder / "elsewhere", monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "elsewhere" / "mlruns").as_uri())
    train(*LINEAR, "logger.mlflow.experiment=houses", "trainer.max_epochs=1", directory=folder / "run")
    assert not (folder / "mlruns").exists()
    assert client.get_experiment_by_name("houses") is not None


def test_a_store_that_cannot_be_used_is_one_line_that_tells_no_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://me:password@nowhere")
    with pytest.raises(RunError, match=r"^mlflow: MLFLOW_TRACKING_URI: .*nonsense") as told:
        MLFlowLogger(folder / "run").log_metrics({"val/loss": 1.0}, 0)
    assert "\n" not in str(told.value)


def test_a_server_that_does_not_answer_is_told_in_seconds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRIES, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    pauses: list[object] = []
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *told: pauses.append(told))
    with pytest.raises(RunError, match=r"^mlflow: MLFLOW_TRACKING_URI: "):
        MLFlowLogger(folder / "run").log_metrics({"val/loss": 1.0}, 0)
    assert len(pauses) == 2
    assert RETRIES not in os.environ


def test_other_processes_do_not_write(folder: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = MLFlowLogger(folder / "run")
    logger.log_metrics({"val/loss": 1.0}, 0)
    logger.finalize("success")
    assert client.get_experiment_by_name("dive") is None
    assert not (folder / "run").exists()


def test_jobs_of_a_sweep_that_begin_together_share_one_experiment(folder: Path, client: Any) -> None:
    def begin(number: int) -> str:
        (folder / str(number)).mkdir()
        logger = MLFlowLogger(folder / str(number))
        logger.log_metrics({"val/loss": 1.0}, 0)
        return str(logger.experiment_id)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(begin, range(8)))) == 1
    assert len(runs(client)) == 8
