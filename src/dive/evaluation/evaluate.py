"""What a run's model is worth now, beside what was recorded of it; and what it says, as files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from dive.errors import RunError
from dive.evaluation.equality import changed_splits
from dive.evaluation.export import export_onnx, export_torch, require_onnx
from dive.evaluation.loaded_run import LoadedRun, Metrics, load_run
from dive.evaluation.predictions_csv import predictions_csv
from dive.evaluation.rebuild import was_edited
from dive.runs.atomic_io import IMAGE_SUFFIXES, atomic_write, check_writable
from dive.runs.logging import reduce_verbosity
from dive.runs.record import load_config
from dive.tasks.task import ClassificationTask
from dive.visualization.plots import plot_predictions
from dive.visualization.predictions import Predictions, predict

ELSEWHERE = 1e-3  # how far a metric may be from the recorded one on other devices
DRAWN = 40  # mistakes at most


def evaluate_run(
    directory: Path,
    split: str | None = None,
    data: str | None = None,
    data_at: Path | None = None,
    checkpoint: str | None = None,
    accelerator: str | None = None,
    predictions: Path | None = None,
    wrong: Path | None = None,
    onnx: Path | None = None,
    torch_export: Path | None = None,
) -> None:
    """Score a run again, print the metrics beside the recorded ones, and write the files that are asked for.

    Args:
        directory: of the run.
        split: ``"test"`` or ``"val"``; None is the test split, where there is one.
        data: the name of another set than the run's own.
        data_at: where the set is read from by now.
        checkpoint: ``"best"`` or ``"last"``; None is the best where it is kept.
        accelerator: another than that of the run.
        predictions: of a CSV file with a row an example.
        wrong: of a picture of the images that are taken for something else.
        onnx: of the model, for other programs.
        torch_export: likewise, for `torch.export.load`.

    Raises:
        RunError: the metrics are not those that were recorded, or a file is not what the model says.
        UserError: what is asked for cannot be had.
    """
    for path in filter(None, (predictions, wrong, onnx, torch_export)):
        check_writable(path, IMAGE_SUFFIXES if path is wrong else ())
    if onnx is not None:
        require_onnx()
    reduce_verbosity()
    run = load_run(directory, data, data_at, checkpoint, accelerator)
    split = split or ("test" if run.data.has_test else "val")
    examples = run.examples(split)
    if wrong is not None and not (isinstance(run.task, ClassificationTask) and examples.inputs.ndim == 4):
        raise RunError(f"{wrong}: only images of classes can be drawn, and {run.data.name} has none")

    found, recorded = run.metrics(split), run.recorded(split)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{directory}: {run.checkpoint}.ckpt, {split} split of {run.data.name}, {len(examples)} examples"
        + run.describe_split(split)
    )
    console.print(_table(found, recorded))
    if run.elsewhere and recorded:
        console.print(f"the run was {run.elsewhere}: here, the last digits may be others")
    with run.inference_mode() as task:
        if predictions is not None:
            atomic_write(predictions, predictions_csv(task, examples, run.data).to_csv(index_label="index"))
            console.print(f"predictions: {predictions}")
        if wrong is not None and isinstance(task, ClassificationTask):
            console.print(_draw_wrong(predict(task, examples), run.data.class_names, wrong))
    if onnx is not None:
        console.print(f"ONNX: {export_onnx(run.task, examples.inputs, onnx)}")
    if torch_export is not None:
        console.print(f"torch.export: {export_torch(run.task, examples.inputs, torch_export)}")
    if wrong_ones := metric_deviations(found, recorded, ELSEWHERE if run.elsewhere else 0.0):
        raise RunError(f"{directory}: not what was recorded: {', '.join(wrong_ones)}; {_where_to_look(run)}")


def _draw_wrong(said: Predictions, names: Sequence[str], path: Path) -> str:
    mistakes = said.most_confident_errors(DRAWN)
    if len(mistakes) == 0:
        return f"{path}: not drawn, since none is wrong"
    plot_predictions(said, mistakes, names).savefig(path, facecolor="white", dpi=120)
    return f"the {len(mistakes)} most confident mistakes: {path}"


def _where_to_look(run: LoadedRun) -> str:
    if changed := was_edited(run.directory, load_config(run.directory) or {}):
        return f"its config.yaml has been changed since: {', '.join(changed)}"
    if other := changed_splits(run.directory, run.data):
        return other
    return "its environment.json and code.diff tell the versions, the machine and the code that it had"


def _table(found: Metrics, recorded: Metrics) -> Table:
    table = Table("metric", "now", *(["recorded"] if recorded else []))
    for name in dict.fromkeys([*found, *recorded]):
        rows = (found, recorded) if recorded else (found,)
        table.add_row(name, *(str(np.float32(row[name])) if name in row else "" for row in rows))
    return table


def metric_deviations(found: Metrics, recorded: Metrics, allowed: float = 0.0) -> list[str]:
    """Which metrics are not as recorded, and by how much.

    Args:
        found: now.
        recorded: then; others are not looked at.
        allowed: difference; 0 is none at all. Metrics are float32: their decimals may be longer or shorter.

    >>> metric_deviations({"test/acc": 0.75, "test/loss": 0.5}, {"test/acc": 0.5, "test/loss": 0.5})
    ['test/acc differs by 0.25']
    """
    told = []
    for name, then in recorded.items():
        if name not in found:
            told.append(f"{name} is not measured any more")
            continue
        values = np.array([found[name], np.nan if then is None else then], np.float32)  # JSON has no NaN
        if not np.isnan(values).all() and not (difference := abs(values[0] - values[1])) <= allowed:
            told.append(f"{name} differs by {difference:.3g}")
    return told
