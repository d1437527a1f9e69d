"""Search with Optuna that goes on where it stopped. Hydra imports this module at every start."""

from pathlib import Path
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class DiveOptunaSweeper(Sweeper):
    """Hydra's Optuna sweeper on a study in the sweep's directory, for the metric that `monitor` names.

    Said again, it goes on until there are `n_trials` in all; a trial that was cut off is resumed, not repeated.
    Failed trials are told to the study as such.

    Args:
        n_trials: of the study, those of earlier commands included.
        n_jobs: trials that are chosen together, and run as the launcher runs jobs.
        sampler: of Optuna, that chooses what to try.
        params: what to search, as on the command line: ``{optimizer.lr: "interval(0.01, 1)"}``.
    """

    def __init__(self, n_trials: int, n_jobs: int, sampler: Any, params: DictConfig | None = None) -> None:
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.sampler = sampler
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.setup_args: dict[str, Any] = {
            "hydra_context": hydra_context,
            "task_function": task_function,
            "config": config,
        }
        self.directory = Path(config.hydra.sweep.dir).absolute()
        self.monitor, self.mode = config.monitor, config.mode

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that the study lacks."""
        from hydra_plugins.hydra_optuna_sweeper.optuna_sweeper import OptunaSweeper
        from optuna import load_study
        from optuna.trial import TrialState

        from dive.sweeps.active_session import get_session
        from dive.tasks.metric_mode import metric_mode

        get_session(self.directory, self.monitor, self.mode).start_search(self.n_trials)
        study_name, storage = "study", f"sqlite:///{self.directory / 'study.db'}"
        study = {
            "study_name": study_name,
            "storage": storage,
            "direction": f"{metric_mode(self.monitor, self.mode)}imize",
        }
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
        except ValueError:  # at its end it asks for the best trial, also where all have failed
            if any(trial.state is TrialState.COMPLETE for trial in load_study(study_name, storage).trials):
                raise

    def _remaining_trials(self, direction: str, storage: str, study_name: str) -> int:
        import logging

        import optuna
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(logging.WARNING)
        study = optuna.create_study(storage, study_name=study_name, direction=direction, load_if_exists=True)
        if study.trials:
            self.sampler.reseed_rng()  # else it would choose once more what it chose first
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # The sweep's lock is ours: whoever ran this trial is gone.
            study._storage.set_trial_state(trial._trial_id, TrialState.WAITING)
        return max(0, self.n_trials - sum(trial.state.is_finished() for trial in study.trials))
