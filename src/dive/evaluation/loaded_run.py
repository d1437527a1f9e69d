"""A run, scored again by its directory alone: model and data as recorded, the weights of a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dive.data.datamodule import InMemoryDataModule
from dive.data.tensor_dataset import TensorDataset
from dive.errors import DataError, RunError
from dive.evaluation.equality import changed_splits
from dive.evaluation.rebuild import (
    SOURCES,
    recorded_accelerator,
    relocate_data,
    replace_data,
    resolve_checkpoint,
    use_recorded_threads,
    validated_config,
)
from dive.runs.logging import silence_lightning
from dive.runs.metrics_csv import read_metrics
from dive.runs.record import Config, load_result
from dive.tasks.task import Task
from dive.training import instantiate
from dive.training.trainer import Trainer, is_accelerator_available

Metrics = dict[str, float]


@dataclass(frozen=True)
class LoadedRun:
    """A run's model, ready to be scored.

    Args:
        directory: of the run.
        task: with the weights of the checkpoint.
        data: to score it on; loaded.
        trainer: that scores it, on one device.
        checkpoint: ``"best"`` or ``"last"``.
        step: how many the optimizer had taken when it was saved.
        own_data: whether these are the run's own.
        elsewhere: on which other devices the run was, in words; empty where it was on these, so that the metrics
            are to come out again to the bit.
    """

    directory: Path
    task: Task
    data: InMemoryDataModule
    trainer: Trainer
    checkpoint: str
    step: int
    own_data: bool
    elsewhere: str

    def metrics(self, split: str) -> Metrics:
        """Score a split, as the run itself does: ``test/loss``, ``test/acc``, ...

        Raises:
            DataError: there is no such split.
            RunError: the recorded configuration leaves all of it out.
        """
        score = self.trainer.test if split == "test" else self.trainer.validate
        with use_recorded_threads(self.directory):
            found = score(self.task, self.data, verbose=False)
        if not found:
            raise RunError(f"trainer.limit_{split}_batches: the run has nothing measured of this split")
        return {name: float(value) for name, value in found[0].items()}

    def recorded(self, split: str) -> Metrics:
        """What the run's own files say of these weights on a split; empty where they were not measured on it."""
        if not self.own_data:
            return {}
        row = read_metrics(self.directory / "metrics.csv").get(self.step - 1, {})
        if split == "test":
            which = "best" if self.checkpoint == "best" else "final"
            row = load_result(self.directory).get("metrics", {}).get(which, {})
        return {name: value for name, value in row.items() if name.startswith(f"{split}/")}

    def examples(self, split: str) -> TensorDataset:
        """Those of a split.

        Raises:
            DataError: there is no such split.
        """
        found = self.data.splits.test if split == "test" else self.data.splits.val
        if found is None:
            raise DataError(f"{self.data.name} has no test split; choose --split val")
        return found

    def describe_split(self, split: str) -> str:
        """Which part of a split is scored, in words; empty for all of it."""
        limit = getattr(self.trainer, f"limit_{split}_batches")
        whole = isinstance(limit, float) and limit == 1  # the number 1 is a batch
        return "" if whole else f", of which trainer.limit_{split}_batches={limit} is scored"

    @contextmanager
    def inference_mode(self) -> Iterator[Task]:
        """The task on the trainer's device, in its precision, with the run's number of threads."""
        precision = self.trainer.precision_plugin
        task = precision.convert_module(self.task).to(self.trainer.strategy.root_device)
        with use_recorded_threads(self.directory), precision.forward_context():
            yield task


def load_run(
    directory: Path,
    data: str | None = None,
    data_at: Path | None = None,
    checkpoint: str | None = None,
    accelerator: str | None = None,
) -> LoadedRun:
    """Rebuild a run from its record.

    Args:
        directory: of the run.
        data: the name of another set, in place of the run's own.
        data_at: where the set is read from; None is where the run has read it.
        checkpoint: ``"best"`` or ``"last"``; None is the best, or the last where no best one is kept.
        accelerator: as ``trainer.accelerator``; None is the one that the run was on.

    Raises:
        RunError: the directory holds no run or no such checkpoint, the data do not fit the model, or this machine
            has no such accelerator.
        ConfigError: the configuration is not one that may be built.
        DataError: the data are not where they were.
    """
    settings = validated_config(directory, without=("callbacks", "logger"))
    silence_lightning()
    path, saved = resolve_checkpoint(directory, checkpoint)
    before = recorded_accelerator(directory, settings)
    chosen = accelerator or before
    if not is_accelerator_available(chosen):
        raise RunError(f"trainer.accelerator={chosen}: this machine has none; choose another: --accelerator cpu")
    scored = relocate_data(settings if data is None else replace_data(settings, data), data_at)
    made = instantiate.instantiate_datamodule(scored)
    set_of_run = made if data is None else instantiate.instantiate_datamodule(settings)
    _load(made, scored["data"] if data is None else {})
    if (made.num_inputs, made.num_outputs) != (set_of_run.num_inputs, set_of_run.num_outputs):
        raise RunError(
            f"data={data}: has {made.num_inputs} inputs and {made.num_outputs} outputs, "
            f"the model {set_of_run.num_inputs} and {set_of_run.num_outputs}"
        )
    task = instantiate.instantiate_task(settings, made)
    try:
        task.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        told = " ".join(str(error).split())
        why = f"; {other}" if data is None and (other := changed_splits(directory, made)) else ""
        raise RunError(f"{path} does not fit the model of {directory / 'config.yaml'}{why}: {told}") from error
    one = {"accelerator": chosen, "devices": 1, "num_nodes": 1, "strategy": "auto", "profiler": None}
    trainer = instantiate.instantiate_trainer(settings | {"trainer": settings["trainer"] | one}, directory)
    trainer.maybe_compile(task)
    steps = int(saved.get("global_step", 0))
    return LoadedRun(
        directory, task, made, trainer, path.stem, steps, data is None, _elsewhere(settings, before, chosen)
    )


def _elsewhere(settings: Config, before: str, chosen: str) -> str:
    devices = settings["trainer"].get("devices", 1)
    if before == chosen and str(devices) in ("1", "auto", "[0]"):
        return ""
    return f"on {before}, devices={devices}"


def _load(data: InMemoryDataModule, recorded: Config) -> None:
    try:
        data.prepare_data()
        assert data.splits
    except DataError as error:
        place = next((f"data.{key}={recorded[key]}" for key in SOURCES if key in recorded), None)
        if place is None:
            raise
        told = str(error).removeprefix(f"{place}: ")
        raise DataError(f"{place}: {told}; where they are elsewhere by now: --data-at PATH") from error
