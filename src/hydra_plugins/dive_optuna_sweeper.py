"""Resumable hyperparameter search with Optuna. Hydra imports this module at every start."""

from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig


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
        from hydra_plugins.hydra_optuna_sweeper import _impl
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
        from optuna import load_study
        from optuna.exceptions import StorageInternalError
        from optuna.trial import TrialState
        from sqlalchemy.exc import SQLAlchemyError  # type: ignore[import-untyped]

        from dive.sweeps.active_session import get_session
        from dive.sweeps.study import corrupt_study_error, open_study
        from dive.tasks.metric_mode import metric_mode

        get_session(self.directory, self.monitor, self.mode).start_search(self.n_trials)
        path, direction = self.directory / "study.db", f"{metric_mode(self.monitor, self.mode)}imize"
        params = [f"{key!s}={value}" for key, value in (self.params or {}).items()]
        space, fixed = _impl.create_params_from_overrides([*params, *arguments])
        space = {name: distribution for name, distribution in space.items() if name not in fixed}
        trials = open_study(path, direction, space, fixed)
        if trials:
            self.sampler.reseed_rng()  # otherwise it would sample the first trials again
        study_name, storage = "study", f"sqlite:///{path}"
        sweeper = OptunaSweeper(
            sampler=self.sampler,
            n_trials=max(0, self.n_trials - sum(trial.state.is_finished() for trial in trials)),
            n_jobs=self.n_jobs,
            max_failure_rate=1.0,
            search_space=None,
            custom_search_space=None,
            params=self.params,
            direction=direction,
            study_name=study_name,
            storage=storage,
        )
        sweeper.setup(**self.setup_args)
        try:
            sweeper.sweep(arguments)
        except (SQLAlchemyError, StorageInternalError) as error:
            raise corrupt_study_error(path, error) from error
        except ValueError:  # raised at the end for the best trial if all trials have failed
            if any(trial.state is TrialState.COMPLETE for trial in load_study(study_name, storage).trials):
                raise
