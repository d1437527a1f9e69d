"""Where a run can go on, and that it goes on as it began."""

from collections.abc import Sequence
from pathlib import Path

from dive.checkpoints import Checkpoint, DamagedError, load
from dive.errors import RunError
from dive.recorded import Config, differences, recorded_config

# What may differ when a run goes on: all else stands in its checkpoint, and would be told wrong.
MAY_CHANGE = ("trainer", "callbacks", "logger")


def newest_sound(paths: Sequence[Path]) -> tuple[Path | None, list[str]]:
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
            load(path)
        except DamagedError as error:
            wrong.append(str(error))
        else:
            return path, wrong
    return None, wrong


def epochs_done(checkpoint: Checkpoint) -> int:
    """How many epochs are through."""
    return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])


def compare(directory: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Whether a run may go on under a configuration.

    Args:
        directory: of the run.
        checkpoint: from which it is to go on.
        config: the configuration.

    Raises:
        RunError: more than `MAY_CHANGE` has changed, or the epochs wanted are fewer than those that are done.
    """
    # Rather with what the checkpoint says than with config.yaml, that somebody may have changed since.
    began = checkpoint.get("config") or recorded_config(directory) or {}
    allowed = tuple(f"{key}." for key in MAY_CHANGE)
    if changed := [line for line in differences(began, config) if not line.startswith(allowed)]:
        raise RunError(
            f"resume={directory}: {'; '.join(changed)}: a run goes on as it began; "
            f"only {', '.join(MAY_CHANGE)} may change"
        )
    done, wanted = epochs_done(checkpoint), config.get("trainer", {}).get("max_epochs")
    if wanted is not None and wanted < done:
        raise RunError(f"trainer.max_epochs={wanted}: the run has trained for {done} epochs already")
