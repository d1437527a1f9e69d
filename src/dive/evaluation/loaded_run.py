"""Load a run for evaluation from its directory: model and data as recorded, weights of a checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dive.data.datamodule import InMemoryDataModule
from dive.data.tensor_dataset import TensorDataset
from dive.errors import DataError, RunError
from dive.evaluation.equality import changed_splits
from dive.evaluation.rebuild import (
    SOURCE_KEYS,
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
    """A run's model, ready to be evaluated.

    Args:
        directory: the run directory.
        task: the task, with the weights of the checkpoint.
        data: the loaded data to evaluate on.
        trainer: runs the evaluation, on one device.
        checkpoint: ``"best"`` or ``"last"``.
        step: number of optimizer steps at which the checkpoint was saved.
        uses_own_data: whether `data` is the run's own data set.
        original_device: description of the devices that the run was trained on, such as ``"on gpu, devices=1"``;
            empty if the run is evaluated on the same, so that metrics should match the recorded ones exactly.
    """

    directory: Path
    task: Task
    data: InMemoryDataModule
    trainer: Trainer
    checkpoint: str
    step: int
    uses_own_data: bool
    original_device: str

    def metrics(self, split: str) -> Metrics:
        """Evaluate a split in the same way as the run did: ``test/loss``, ``test/acc``, ...

        Raises:
            DataError: there is no such split.
            RunError: the recorded configuration excludes all of its batches.
        """
        evaluate = self.trainer.test if split == "test" else self.trainer.validate
        with use_recorded_threads(self.directory):
            results = evaluate(self.task, self.data, verbose=False)
        if not results:
            raise RunError(f"trainer.limit_{split}_batches: the run evaluates no batches of this split")
        return {name: float(value) for name, value in results[0].items()}

    def recorded(self, split: str) -> Metrics:
        """Return the metrics that the run recorded for these weights; empty if it did not evaluate them."""
        if not self.uses_own_data:
            return {}
        row = read_metrics(self.directory / "metrics.csv").get(self.step - 1, {})
        if split == "test":
            which = "best" if self.checkpoint == "best" else "final"
            row = load_result(self.directory).get("metrics", {}).get(which, {})
        return {name: value for name, value in row.items() if name.startswith(f"{split}/")}

    def examples(self, split: str) -> TensorDataset:
        """Return the examples of a split.

        Raises:
            DataError: there is no such split.
        """
        examples = self.data.splits.test if split == "test" else self.data.splits.val
        if examples is None:
            raise DataError(f"{self.data.name} has no test split; choose --split val")
        return examples

    def describe_split(self, split: str) -> str:
        """Describe which part of a split is evaluated; empty if it is the whole split."""
        limit = getattr(self.trainer, f"limit_{split}_batches")
        unlimited = isinstance(limit, float) and limit == 1  # the integer 1 is a single batch
        return "" if unlimited else f", limited by trainer.limit_{split}_batches={limit}"

    @contextmanager
    def inference_mode(self) -> Iterator[Task]:
        """The task on the trainer's device and in its precision, with the run's number of threads."""
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
    """Load a run from its directory; the arguments are those of `dive.evaluation.evaluate.evaluate_run`.

    Raises:
        RunError: there is no such run or checkpoint, the data do not fit the model, or the accelerator is missing.
        ConfigError: the recorded configuration is invalid.
        DataError: the data cannot be read.
    """
    config = validated_config(directory, without=("callbacks", "logger"))
    silence_lightning()
    path, saved = resolve_checkpoint(directory, checkpoint)
    original = recorded_accelerator(directory, config)
    accelerator = accelerator or original
    if not is_accelerator_available(accelerator):
        raise RunError(f"trainer.accelerator={accelerator}: not available here; choose another: --accelerator cpu")
    data_config = relocate_data(config if data is None else replace_data(config, data), data_at)
    module = instantiate.instantiate_datamodule(data_config)
    original_data = module if data is None else instantiate.instantiate_datamodule(config)
    _load_data(module, data_config["data"] if data is None else {})
    if (module.num_inputs, module.num_outputs) != (original_data.num_inputs, original_data.num_outputs):
        raise RunError(
            f"data={data}: has {module.num_inputs} inputs and {module.num_outputs} outputs, "
            f"but the model has {original_data.num_inputs} and {original_data.num_outputs}"
        )
    task = instantiate.instantiate_task(config, module)
    try:
        task.load_state_dict(saved["state_dict"])
    except (RuntimeError, TypeError, AttributeError) as error:
        cause = f"; {changed}" if data is None and (changed := changed_splits(directory, module)) else ""
        misfit = f"{path} does not fit the model of {directory / 'config.yaml'}{cause}"
        raise RunError(f"{misfit}: {' '.join(str(error).split())}") from error
    one_device = {"accelerator": accelerator, "devices": 1, "num_nodes": 1, "strategy": "auto", "profiler": None}
    trainer = instantiate.instantiate_trainer(config | {"trainer": config["trainer"] | one_device}, directory)
    trainer.maybe_compile(task)
    devices = config["trainer"].get("devices", 1)
    same_device = original == accelerator and str(devices) in ("1", "auto", "[0]")
    return LoadedRun(
        directory,
        task,
        module,
        trainer,
        checkpoint=path.stem,
        step=int(saved.get("global_step", 0)),
        uses_own_data=data is None,
        original_device="" if same_device else f"on {original}, devices={devices}",
    )


def _load_data(data: InMemoryDataModule, config: Config) -> None:
    try:
        data.prepare_data()
        assert data.splits
    except DataError as error:
        source = next((f"data.{key}={config[key]}" for key in SOURCE_KEYS if key in config), None)
        if source is None:
            raise
        message = str(error).removeprefix(f"{source}: ")
        raise DataError(f"{source}: {message}; if the data were moved: --data-at PATH") from error
