"""Runs for MLflow."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning import loggers
from pytorch_lightning.utilities import rank_zero_only

from dive.errors import RunError
from dive.loggers.base import hyperparameters, load_run_id, save_run_id, shortest_decimals

STORE = "mlruns"  # in the working directory
SERVER = "MLFLOW_TRACKING_URI"
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class MLFlowLogger(loggers.MLFlowLogger):
    """Metrics and, once, the configuration, as a run named like the run's directory; nothing else is sent.

    They go into the store that the environment variable ``MLFLOW_TRACKING_URI`` names, never one that a
    configuration names; by default into ``mlruns`` in the working directory. A run that goes on is the same run
    there, by the id in its ``mlflow.id``, and does not tell again what it has told.

    Args:
        save_dir: the run's directory.
        experiment: under which MLflow shows the run; it is made where there is none of this name.

    Raises:
        RunError: (also from its methods) the store cannot be used.
    """

    requires = "mlflow"

    def __init__(self, save_dir: str | os.PathLike[str], experiment: str = "dive") -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self.folder = Path(save_dir)
        self._told: set[tuple[str, int, float]] = set()
        store = os.environ.get(SERVER)
        self._lock: AbstractContextManager[Any] = nullcontext()
        if not store:
            # MLflow itself would rather have a data base, for which `loggers` has no packages, and which jobs of a
            # sweep would wait for each other at. Jobs that begin together must not make one experiment twice.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            store = Path(STORE).absolute().as_uri()
            self._lock = FileLock(f"{STORE}.lock")
        with self._lock, friendly_errors():
            super().__init__(experiment, self.folder.name, store, tags={"directory": str(self.folder.absolute())})

    @property
    def experiment(self) -> Any:
        """MLflow's client; the run is there when this is first asked for."""
        if not self._initialized and rank_zero_only.rank == 0:
            with self._lock, friendly_errors(), limit_retries():
                self._begin()
        return super().experiment

    def _begin(self) -> None:
        client = self._mlflow_client
        if (known := load_run_id(self.folder, "mlflow")) and self._is_ours(known):
            self._run_id = known
            client.update_run(known, status="RUNNING")
            return
        if client.get_experiment_by_name(self._experiment_name) is None:
            client.create_experiment(self._experiment_name)
        _ = super().experiment
        save_run_id(self.folder, "mlflow", self._run_id)
        self.log_hyperparams(hyperparameters(self.folder))

    def _is_ours(self, known: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            run = self._mlflow_client.get_run(known)
        except MlflowException:  # it is in another store, or was deleted
            return False
        return bool(run.info.run_name == self.folder.name)

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Note what was logged after a checkpoint: MLflow forgets nothing, and need not be told it again."""
        with friendly_errors():
            run = self.experiment.get_run(self.run_id)
            histories = [self.experiment.get_metric_history(self.run_id, name) for name in run.data.metrics]
        self._told = {(m.key, m.step, m.value) for told in histories for m in told if m.step >= step}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Hand over to MLflow, but for what it has been told."""
        new = {k: v for k, v in shortest_decimals(metrics).items() if (k, step or 0, v) not in self._told}
        with friendly_errors():
            super().log_metrics(new, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Say how it ended: finished, failed, or killed where a signal or Ctrl-C has come."""
        if status == "failed" and not isinstance(sys.exception(), Exception | None):
            status = "KILLED"
        with friendly_errors():
            super().finalize(status)


@contextmanager
def limit_retries() -> Iterator[None]:
    """Give a server that does not answer some seconds: by itself, MLflow tries for four minutes, and says nothing.

    While a run goes on it may well: a server that is restarted costs no run.
    """
    asked = os.environ.get(RETRIES)
    os.environ.setdefault(RETRIES, "2")
    try:
        yield
    finally:
        if asked is None:
            del os.environ[RETRIES]


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Tell what MLflow has to complain about in one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        where = f"{SERVER}" if os.environ.get(SERVER) else STORE  # not its value, which may hold a password
        raise RunError(f"mlflow: {where}: {str(error).partition(chr(10))[0]}") from error
