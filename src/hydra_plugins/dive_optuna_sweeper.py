"""Resumable hyperparameter search with Optuna. Hydra imports this module at every start."""

from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from dive.errors import RunError, printable


class DiveOptunaSweeper(Sweeper):
    """Hydra's Optuna sweeper with a study stored in the sweep directory, for the metric that `monitor` names.

    Rerunning the command continues the study until it has `n_trials` trials; an interrupted trial is resumed.
    Failed trials are recorded in the study as failed.

    Args:
        n_trials: number of trials in the study, including those of earlier commands.
        n_jobs: number of trials sampled together and passed to the launcher as one batch.
        sampler: Optuna sampler.
        params: search space, as on the command line: ``{optimizer.lr: "interval(0.01, 1)"}``.
    """

    def __init__(self, n_trials: int, n_jobs: int, sampler: Any, params: DictConfig | None = None) -> None:
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.sampler = sampler
        self.params = params

    def setup(self, *, config: DictConfig, **others: Any) -> None:
        """Store the arguments of Hydra."""
        self.setup_args = {"config": config, **others}
        self.directory = Path(config.hydra.sweep.dir).absolute()
        self.monitor, self.mode = config.monitor, config.mode

    def sweep(self, arguments: list[str]) -> None:
        """Run the remaining trials of the study."""
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
        from optuna import load_study
        from optuna.trial import TrialState

        from dive.sweeps.active_session import get_session
        from dive.tasks.metric_mode import metric_mode

        get_session(self.directory, self.monitor, self.mode).start_search(self.n_trials)
        study_name, storage = "study", f"sqlite:///{self.directory / 'study.db'}"
        direction = f"{metric_mode(self.monitor, self.mode)}imize"
        study = {"study_name": study_name, "storage": storage, "direction": direction}
        sweeper = OptunaSweeper(
            sampler=self.sampler,
            n_trials=self._remaining_trials(**study),
            n_jobs=self.n_jobs,
            max_failure_rate=1.0,
            search_space=None,
            custom_search_space=None,
            params=self.params,
            **study,
        )
        sweeper.setup(**self.setup_args)
        try:
            sweeper.sweep(arguments)
        except ValueError:  # raised at the end for the best trial if all trials have failed
            if any(trial.state is TrialState.COMPLETE for trial in load_study(study_name, storage).trials):
                raise

    def _remaining_trials(self, direction: str, storage: str, study_name: str) -> int:
        import logging

        import optuna
        from optuna.exceptions import StorageInternalError
        from optuna.trial import TrialState
        from sqlalchemy.exc import SQLAlchemyError  # type: ignore[import-untyped]

        optuna.logging.set_verbosity(logging.WARNING)
        try:
            study = optuna.create_study(storage, study_name=study_name, direction=direction, load_if_exists=True)
        except (SQLAlchemyError, StorageInternalError, RuntimeError, ValueError) as error:
            reason = printable(str(error.__cause__ or error).partition("\n")[0])
            raise RunError(
                f"{self.directory / 'study.db'} is corrupt or locked ({reason}); if no other process uses it, "
                "move it away and rerun: jobs keep their results"
            ) from error
        if study.trials:
            self.sampler.reseed_rng()  # otherwise it would sample the first trials again
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # This process holds the lock of the sweep, so the process that ran this trial has ended.
            study._storage.set_trial_state(trial._trial_id, TrialState.WAITING)
        return max(0, self.n_trials - sum(trial.state.is_finished() for trial in study.trials))
