"""The database of a hyperparameter search, ``study.db``: anybody may have edited or damaged it."""

import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from dive.errors import RunError, printable

log = logging.getLogger(__name__)

MAX_TRIALS = 100_000


def open_study(path: Path, direction: str, space: Mapping[str, Any], fixed: Mapping[str, Any]) -> list[Any]:
    """Open or create a study, and return its interrupted trials to the queue.

    Hydra would make an override of every parameter of such a trial. One that has other parameters than the search,
    or values outside of it, is therefore recorded as failed.

    Args:
        path: the database.
        direction: ``"minimize"`` or ``"maximize"``.
        space: the searched parameters with Optuna's distributions.
        fixed: the other parameters of the search.

    Returns:
        The `optuna.trial.FrozenTrial`s of the study, as they were before.

    Raises:
        RunError: the database is corrupt or locked.
    """
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(logging.WARNING)
    try:
        _require_plain_tables(path)
        study: Any = optuna.create_study(
            f"sqlite:///{path}", study_name="study", direction=direction, load_if_exists=True
        )
        trials: list[Any] = study.trials
    except Exception as error:  # for damaged rows, Optuna and SQLAlchemy raise errors of any kind
        raise corrupt_study_error(path, error) from error
    for trial in trials:
        if trial.state.is_finished():
            continue
        # This process holds the lock of the sweep, so the process that ran this trial has ended.
        valid = _belongs_to_search(trial, space, fixed)
        if not valid:
            log.warning("%s: trial %s is not one of this search; it is not resumed", path, trial.number)
        study._storage.set_trial_state(trial._trial_id, TrialState.WAITING if valid else TrialState.FAIL)
    return trials


def corrupt_study_error(path: Path, error: Exception) -> RunError:
    """The error for a database that Optuna cannot read or write."""
    reason = printable(str(error.__cause__ or error).partition("\n")[0])
    return RunError(
        f"{path} is corrupt or locked ({reason}); if no other process uses it, "
        "move it away and rerun: jobs keep their results"
    )


def _require_plain_tables(path: Path) -> None:
    """Check that a database has no views and triggers, which may run forever, and not too many trials."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        for (kind,) in database.execute("SELECT DISTINCT type FROM sqlite_master"):
            if kind not in ("table", "index"):
                raise ValueError(f"it contains a {kind}")
        with suppress(sqlite3.OperationalError):  # Optuna reports that there is no such table
            ((count,),) = database.execute("SELECT count(*) FROM trials")
            if count > MAX_TRIALS:
                raise ValueError(f"it has {count} trials, more than {MAX_TRIALS}")


def _belongs_to_search(trial: Any, space: Mapping[str, Any], fixed: Mapping[str, Any]) -> bool:
    return (
        trial.distributions.items() <= space.items()
        and all(space[name]._contains(space[name].to_internal_repr(value)) for name, value in trial.params.items())
        and trial.user_attrs.keys() <= fixed.keys()
        and not trial.system_attrs
    )
