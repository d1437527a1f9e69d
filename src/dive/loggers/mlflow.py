"""Logging to MLflow."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning import loggers
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from dive.errors import RunError
from dive.loggers.base import load_hyperparameters, load_run_id, save_run_id, shortest_decimals

STORE = "mlruns"  # in the working directory
SERVER = "MLFLOW_TRACKING_URI"
RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class MLFlowLogger(loggers.MLFlowLogger):
    """Logs metrics and, once, the configuration to an MLflow run named like the run directory.

    The MLflow run has MLflow's standard tags (user, source file, git commit) and the path of the run directory.
    No code, terminal output or weights are logged.

    The environment variable ``MLFLOW_TRACKING_URI``, never a configuration, sets the store; the default is
    ``mlruns`` in the working directory. A resumed run continues the same MLflow run, by the ID in ``mlflow.id``,
    and does not log again what MLflow has already.

    Args:
        save_dir: the run directory.
        experiment: name of the MLflow experiment; it is created if it does not exist.

    Raises:
        RunError: (also from its methods) the store cannot be used.
    """

    requires = "mlflow"

    def __init__(self, save_dir: str | os.PathLike[str], experiment: str = "dive") -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self.run_dir = Path(save_dir)
        self.experiment_name = experiment
        self._client: Any = None
        self._run: Any = None
        self._logged: set[tuple[str, int, float]] = set()
        store = os.environ.get(SERVER)
        self._lock: AbstractContextManager[Any] = nullcontext()
        if not store:
            # MLflow's default is a database: it needs packages that the extra `loggers` does not install, and jobs
            # of a sweep would block each other. The lock keeps jobs from creating an experiment twice.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            store = Path(STORE).absolute().as_uri()
            self._lock = FileLock(f"{STORE}.lock")
        self.store = store
        with self._lock, friendly_errors():
            super().__init__(experiment, self.run_dir.name, store)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The MLflow client; first use creates or resumes the MLflow run."""
        if self._client is None:
            with self._lock, friendly_errors(), limit_retries():
                self._start_run()
        return self._client

    @property
    def run_id(self) -> str | None:
        """The ID of the MLflow run; first use creates or resumes it."""
        _ = self.experiment
        return self._run and self._run.info.run_id

    @property
    def experiment_id(self) -> str | None:
        """The ID of the MLflow experiment; first use creates or resumes the MLflow run."""
        _ = self.experiment
        return self._run and self._run.info.experiment_id

    def _start_run(self) -> None:
        import mlflow
        from mlflow.tracking.context.registry import resolve_tags

        client = mlflow.MlflowClient(self.store)
        if recorded := self._recorded_run(client):
            client.update_run(recorded.info.run_id, status="RUNNING")
            self._run = recorded
        else:
            experiment = client.get_experiment_by_name(self.experiment_name)
            experiment_id = (
                experiment.experiment_id if experiment else client.create_experiment(self.experiment_name)
            )
            tags = resolve_tags({"directory": str(self.run_dir.absolute())})
            self._run = client.create_run(experiment_id, tags=tags, run_name=self.run_dir.name)
        mlflow.set_tracking_uri(self.store)  # for mlflow's own functions; this also sets the environment variable
        self._client = client
        if recorded is None:
            save_run_id(self.run_dir, "mlflow", self._run.info.run_id)
            self.log_hyperparams(load_hyperparameters(self.run_dir))

    def _recorded_run(self, client: Any) -> Any:
        from mlflow.exceptions import MlflowException

        if (run_id := load_run_id(self.run_dir, "mlflow")) is None:
            return None
        try:
            run = client.get_run(run_id)
        except MlflowException:  # it is in another store, or was deleted
            return None
        return run if run.info.run_name == self.run_dir.name else None

    @rank_zero_only
    def truncate_after(self, step: int) -> None:
        """Collect what was logged after a checkpoint: MLflow cannot delete it, and it need not be logged again."""
        with friendly_errors():
            run = self.experiment.get_run(self.run_id)
            histories = [self.experiment.get_metric_history(self.run_id, name) for name in run.data.metrics]
        self._logged = {(m.key, m.step, m.value) for history in histories for m in history if m.step >= step}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log what MLflow does not have yet."""
        new = {k: v for k, v in shortest_decimals(metrics).items() if (k, step or 0, v) not in self._logged}
        with friendly_errors():
            super().log_metrics(new, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Set the final status: finished, failed, or killed if a signal or Ctrl-C interrupted the run."""
        if self._client is None:
            return
        interrupted = not isinstance(sys.exception(), Exception | None)
        final = ("KILLED" if interrupted else "FAILED") if status == "failed" else "FINISHED"
        with friendly_errors():
            self._client.set_terminated(self.run_id, final)


@contextmanager
def limit_retries() -> Iterator[None]:
    """Give up on an unreachable server after some seconds: by default MLflow retries silently for four minutes.

    This holds at the start only; during a run the default applies, so that it survives a restart of the server.
    """
    configured = RETRIES in os.environ
    os.environ.setdefault(RETRIES, "2")
    try:
        yield
    finally:
        if not configured:
            del os.environ[RETRIES]


@contextmanager
def friendly_errors() -> Iterator[None]:
    """Report MLflow's errors in one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        store = SERVER if os.environ.get(SERVER) else STORE  # not the value, which may contain a password
        raise RunError(f"mlflow: {store}: {str(error).partition(chr(10))[0]}") from error
