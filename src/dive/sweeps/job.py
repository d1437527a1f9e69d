"""A job of a sweep, and its directory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dive.runs.record import Config

# Where runs go that make room for others, in the sweep's directory.
ARCHIVE = ".earlier"

# What tells TensorBoard's HParams of a job. Its name comes after those of the run's own events.
HPARAMS_FILE = "events.out.tfevents.hparams"


@dataclass(frozen=True)
class Job:
    """One of a sweep's jobs.

    Attributes:
        number: its place in the sweep, from 0.
        overrides: what was typed for it.
        config: its resolved configuration.
        directory: of its run.
    """

    number: int
    overrides: tuple[str, ...]
    config: Config = field(repr=False)
    directory: Path

    @property
    def name(self) -> str:
        """That of its directory."""
        return self.directory.name


def overrides_by_key(words: Sequence[str]) -> dict[str, str]:
    """Overrides, values by keys.

    >>> overrides_by_key(["model=mlp", "+data.crop=[1,2]"])
    {'model': 'mlp', 'data.crop': '[1,2]'}
    """
    return {key.lstrip("+~"): value for key, _, value in (word.partition("=") for word in words)}


def archive_path(directory: Path) -> Path:
    """Where a job's directory would go, to make room for another."""
    earlier = directory.parent / ARCHIVE
    taken = [path.name.rpartition(".") for path in earlier.glob("*")]
    numbers = [int(number) for name, _, number in taken if name == directory.name and number.isdigit()]
    return earlier / f"{directory.name}.{max(numbers, default=0) + 1}"


def archive_run(directory: Path) -> None:
    """Make room for another run in a job's directory."""
    aside = archive_path(directory)
    aside.parent.mkdir(exist_ok=True)
    directory.rename(aside)
    (aside / HPARAMS_FILE).unlink(missing_ok=True)  # it is no job of the sweep any more
