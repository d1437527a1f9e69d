"""Find the checkpoint to resume from, and check that only settings that may change have changed."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dive.errors import RunError
from dive.runs.checkpoint_io import CorruptCheckpointError, load_checkpoint
from dive.runs.checkpoint_schema import Checkpoint, completed_epochs
from dive.runs.record import Config, diff_configs, load_config

# Everything else is restored from the checkpoint, so another value in config.yaml would not describe the run.
CHANGEABLE_ON_RESUME = ("trainer", "callbacks", "logger")


def latest_valid_checkpoint(paths: Sequence[Path]) -> tuple[Path | None, list[str]]:
    """Return the first checkpoint of `paths`, newest first, that is valid, and what is wrong with those before it.

    Raises:
        RunError: a checkpoint is unsafe, for example because it names code; no other one is tried.
    """
    problems: list[str] = []
    for path in paths:
        if not path.is_file():
            problems.append(f"{path} does not exist")
            continue
        try:
            load_checkpoint(path)
        except CorruptCheckpointError as error:
            problems.append(str(error))
        else:
            return path, problems
    return None, problems


def check_resume_compatible(directory: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Check that a run can be resumed from a checkpoint with a resolved configuration.

    Raises:
        RunError: keys outside `CHANGEABLE_ON_RESUME` have changed, also since ``best.ckpt`` was saved, more than
            `max_epochs` are completed, or the checkpoint does not say how many.
    """
    if changed := _fixed_changes(directory, checkpoint, config):
        raise RunError(
            f"resume={directory}: {'; '.join(changed)}: cannot be changed on resume; "
            f"only {', '.join(CHANGEABLE_ON_RESUME)} can"
        )
    best = directory / "checkpoints" / "best.ckpt"
    with suppress(CorruptCheckpointError):  # reported when it is used; until then a better one may replace it
        if best.is_file() and (changed := _fixed_changes(directory, load_checkpoint(best), config)):
            raise RunError(f"{best} is from another run: {'; '.join(changed)}")
    try:
        completed = completed_epochs(checkpoint)
    except (LookupError, TypeError) as error:
        raise RunError(f"resume={directory}: the checkpoint does not contain the progress of the run") from error
    max_epochs = config.get("trainer", {}).get("max_epochs")
    if max_epochs is not None and max_epochs < completed:
        raise RunError(f"trainer.max_epochs={max_epochs}: the run has already trained for {completed} epochs")


def _fixed_changes(directory: Path, checkpoint: Checkpoint, config: Config) -> list[str]:
    """Differences of a configuration from that of a checkpoint, in keys that cannot be changed on resume."""
    # config.yaml may have been edited since; older checkpoints do not contain the configuration.
    original = checkpoint.get("config") or load_config(directory) or {}
    allowed = tuple(f"{key}." for key in CHANGEABLE_ON_RESUME)
    return [line for line in diff_configs(original, config) if not line.startswith(allowed)]
