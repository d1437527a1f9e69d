"""MLFlowLogger: runs as read by the MLflow client."""

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
from dive.loggers.mlflow import RETRIES
from dive.runs.metrics_csv import read_metrics
from dive.runs.record import comparable_config, flatten

pytest.importorskip("mlflow", reason="pip install -e '.[loggers]'")

LINEAR = ("model=linear_regression", "trainer=cpu", "data.num_train=100", "data.num_val=50", "logger=mlflow")
Curves = dict[str, list[tuple[int, float]]]


@pytest.fixture
def client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An MLflow client for the store in the working directory."""
    return make_client(folder, monkeypatch)


def make_client(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow.tracking import MlflowClient

    return MlflowClient((folder / "mlruns").as_uri())


def runs(client: Any) -> list[Any]:
    """The runs of the experiment "dive", oldest first."""
    experiment = client.get_experiment_by_name("dive")
    return sorted(client.search_runs([experiment.experiment_id]), key=lambda run: run.info.start_time)


def curves(client: Any, run: Any) -> Curves:
    """Steps and values of each metric."""
    return {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def csv_curves(directory: Path) -> Curves:
    """Steps and values of each metric in metrics.csv."""
    found: Curves = {}
    for step, row in read_metrics(directory / "metrics.csv").items():
        for name, value in row.items():
            found.setdefault(name, []).append((step, value))
    return found


@pytest.fixture(scope="module")
def finished_run(run_train: Callable[..., Any]) -> Any:
    """A run of train.py."""
    return run_train("logger=mlflow")


def test_run_has_metrics_configuration_and_name(finished_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = make_client(finished_run.directory.parent, monkeypatch)
    (run,) = runs(client)
    logged = curves(client, run)
    unique = {name: [*dict.fromkeys(points)] for name, points in logged.items()}  # each call logs `epoch`
    assert unique == csv_curves(finished_run.directory)
    assert len(logged["val/loss"]) == 3
    config = yaml.safe_load((finished_run.directory / "config.yaml").read_text())
    assert run.data.params == {name: str(value)[:250] for name, value in flatten(comparable_config(config))}
    assert run.info.run_name == finished_run.directory.name
    assert run.info.status == "FINISHED"


def test_no_network_connections(finished_run: Any) -> None:
    assert finished_run.connections == 0


def test_resumed_run_continues_the_same_run(train: Callable[..., Any], client: Any) -> None:
    first = train(*LINEAR, "trainer.max_epochs=1")
    train(f"resume={first.directory}", "trainer.max_epochs=3", directory=first.directory)
    (run,) = runs(client)
    assert [step for step, _ in curves(client, run)["val/loss"]] == [3, 7, 11]
    assert run.info.status == "FINISHED"
    assert run.data.params["trainer.max_epochs"] == "1"  # of the first start: logged once


def test_metrics_after_the_checkpoint_are_not_logged_twice(folder: Path, client: Any) -> None:
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
    third.log_metrics({"val/loss": 9.0}, 6)  # another value, as of a resumed run with other settings
    assert curves(client, run)["val/loss"][-1] == (6, 9.0)


def test_failed_run_has_status_failed(train: Callable[..., Any], client: Any) -> None:
    with pytest.raises(RunError):
        train(*LINEAR, "optimizer.lr=1e30")
    (run,) = runs(client)
    assert run.info.status == "FAILED"


def test_interrupted_run_has_status_killed(
    train: Callable[..., Any], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        TerminateOnNonFinite, "on_train_epoch_end", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    with pytest.raises(KeyboardInterrupt):
        train(*LINEAR)
    (run,) = runs(client)
    assert run.info.status == "KILLED"


@pytest.mark.parametrize("run_id", ["0" * 32, "../../other", "", "of another run"])
def test_id_of_another_run_starts_a_new_run(run_id: str, folder: Path, client: Any) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
    one, two = MLFlowLogger(folder / "one"), MLFlowLogger(folder / "two")
    one.log_metrics({"val/loss": 1.0}, 0)
    (folder / "two" / "mlflow.id").write_text(one.run_id if run_id == "of another run" else run_id)
    two.log_metrics({"val/loss": 2.0}, 0)
    assert [run.info.run_name for run in runs(client)] == ["one", "two"]
    assert (folder / "two" / "mlflow.id").read_text() == f"{two.run_id}\n"
    assert curves(client, runs(client)[0]) == {"val/loss": [(0, 1.0)]}


def test_store_is_set_by_the_environment_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., Any]
) -> None:
    client = make_client(folder / "other", monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "other" / "mlruns").as_uri())
    train(*LINEAR, "logger.mlflow.experiment=houses", "trainer.max_epochs=1", directory=folder / "run")
    assert not (folder / "mlruns").exists()
    assert client.get_experiment_by_name("houses") is not None


def test_unusable_store_is_a_one_line_error_without_the_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://me:password@nowhere")
    with pytest.raises(RunError, match=r"^mlflow: MLFLOW_TRACKING_URI: .*nonsense") as caught:
        MLFlowLogger(folder / "run").log_metrics({"val/loss": 1.0}, 0)
    assert "\n" not in str(caught.value)


def test_unreachable_server_is_reported_within_seconds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRIES, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    pauses: list[object] = []
    monkeypatch.setattr("urllib3.util.Retry.sleep", lambda *args: pauses.append(args))
    with pytest.raises(RunError, match=r"^mlflow: MLFLOW_TRACKING_URI: "):
        MLFlowLogger(folder / "run").log_metrics({"val/loss": 1.0}, 0)
    assert len(pauses) == 2
    assert RETRIES not in os.environ


def test_other_ranks_do_not_write(folder: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = MLFlowLogger(folder / "run")
    logger.log_metrics({"val/loss": 1.0}, 0)
    logger.finalize("success")
    assert client.get_experiment_by_name("dive") is None
    assert not (folder / "run").exists()


def test_jobs_that_start_together_share_one_experiment(folder: Path, client: Any) -> None:
    def start(number: int) -> str:
        (folder / str(number)).mkdir()
        logger = MLFlowLogger(folder / str(number))
        logger.log_metrics({"val/loss": 1.0}, 0)
        return str(logger.experiment_id)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1
    assert len(runs(client)) == 8
