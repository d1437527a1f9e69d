"""The overrides of a sweep's job, and the archive of its earlier runs."""

from collections.abc import Sequence
from pathlib import Path

# Runs that were replaced are moved here, inside the sweep directory.
ARCHIVE = ".earlier"

# Event file for TensorBoard's HParams tab. The name sorts after the event files of the run itself.
HPARAMS_FILE = "events.out.tfevents.hparams"


def overrides_by_key(overrides: Sequence[str]) -> dict[str, str]:
    """Split overrides into keys and values; the last one of a repeated key wins, as in Hydra.

    >>> overrides_by_key(["model=mlp", "+data.crop=[1,2]"])
    {'model': 'mlp', 'data.crop': '[1,2]'}
    """
    return {key.lstrip("+~"): value for key, _, value in (override.partition("=") for override in overrides)}


def archive_path(directory: Path) -> Path:
    """The next free path in the archive for a job's run directory, such as ``.earlier/seed=0.1``."""
    archive = directory.parent / ARCHIVE
    archived = [path.name.rpartition(".") for path in archive.glob("*")]
    numbers = [
        int(number)
        for name, _, number in archived
        if name == directory.name and number.isdecimal() and number.isascii()
    ]
    return archive / f"{directory.name}.{max(numbers, default=0) + 1}"


def archive_run(directory: Path) -> None:
    """Move a run directory into the archive, so that a new run can use its name."""
    target = archive_path(directory)
    target.parent.mkdir(exist_ok=True)
    directory.rename(target)
    (target / HPARAMS_FILE).unlink(missing_ok=True)  # an archived run is not a row of the HParams tab
