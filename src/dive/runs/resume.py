"""Where a run can go on, and that it goes on as it began."""

from collections.abc import Sequence
from pathlib import Path

from dive.errors import RunError
from dive.runs.checkpoint_io import Checkpoint, CorruptCheckpointError, load_checkpoint
from dive.runs.record import Config, diff_configs, load_config

# What may differ when a run goes on: all else stands in its checkpoint, and would be told wrong.
CHANGEABLE_ON_RESUME = ("trainer", "callbacks", "logger")


def latest_valid_checkpoint(paths: Sequence[Path]) -> tuple[Path | None, list[str]]:
    """The first of some checkpoints that can be gone on from, and what is wrong with those before it.

    Args:
        paths: newest first.

    Raises:
        RunError: one of them is not damaged but was made to be refused: then none is to be trusted.
    """
    wrong: list[str] = []
    for path in paths:
        if not path.is_file():
            wrong.append(f"{path} does not exist")
            continue
        try:
            load_checkpoint(path)
        except CorruptCheckpointError as error:
            wrong.append(str(error))
        else:
            return path, wrong
    return None, wrong


def completed_epochs(checkpoint: Checkpoint) -> int:
    """How many epochs are through."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def check_resume_compatible(directory: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Whether a run may go on under a configuration.

    Args:
        directory: of the run.
        checkpoint: from which it is to go on.
        config: the configuration.

    Raises:
        RunError: more than `CHANGEABLE_ON_RESUME` has changed, or the epochs wanted are fewer than those that are done.
    """
    # Rather with what the checkpoint says than with config.yaml, that somebody may have changed since.
    began = checkpoint.get("config") or load_config(directory) or {}
    allowed = tuple(f"{key}." for key in CHANGEABLE_ON_RESUME)
    if changed := [line for line in diff_configs(began, config) if not line.startswith(allowed)]:
        raise RunError(
            f"resume={directory}: {'; '.join(changed)}: a run goes on as it began; "
            f"only {', '.join(CHANGEABLE_ON_RESUME)} may change"
        )
    done, wanted = completed_epochs(checkpoint), config.get("trainer", {}).get("max_epochs")
    if wanted is not None and wanted < done:
        raise RunError(f"trainer.max_epochs={wanted}: the run has trained for {done} epochs already")
