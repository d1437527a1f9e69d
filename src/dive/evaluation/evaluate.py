"""Evaluate a run's checkpoint, compare the metrics with the recorded ones, and export predictions and model."""

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
from dive.runs.record import load_config, load_result
from dive.tasks.task import ClassificationTask
from dive.visualization.plots import plot_predictions
from dive.visualization.predictions import Predictions, predict

DEVICE_TOLERANCE = 1e-3  # allowed deviation from recorded metrics on a device other than the run's
MAX_MISTAKES = 40  # number of images in the figure of mistakes


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
    """Evaluate a run, print its metrics next to the recorded ones, and write the requested files.

    Args:
        directory: the run directory.
        split: ``"test"`` or ``"val"``; None is the test split if there is one.
        data: name of a data set other than the run's.
        data_at: folder or file from which to read the data, if it has moved.
        checkpoint: ``"best"`` or ``"last"``; None is the best, or the last if no best one was saved.
        accelerator: accelerator to use instead of the run's.
        predictions: CSV file to write, with one row per example.
        wrong: image file to write, with the most confident mistakes of an image classifier.
        onnx: ONNX file to write.
        torch_export: file to write for `torch.export.load`.

    Raises:
        RunError: metrics deviate from the recorded ones, the best checkpoint is not the one of the recorded score,
            or an exported file deviates from the model.
        UserError: the run, its data or a requested file is unavailable.
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
        raise RunError(f"{wrong}: needs an image classification data set, and {run.data.name} is not one")

    metrics, recorded = run.metrics(split), run.recorded(split)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{directory}: {run.checkpoint}.ckpt, {split} split of {run.data.name}, {len(examples)} examples"
        + run.describe_split(split)
    )
    console.print(_table(metrics, recorded))
    if run.original_device and recorded:
        console.print(f"the run was trained {run.original_device}; the last digits may differ on this device")
    with run.inference_mode() as task:
        if predictions is not None:
            atomic_write(predictions, predictions_csv(task, examples, run.data).to_csv(index_label="index"))
            console.print(f"predictions: {predictions}")
        if wrong is not None and isinstance(task, ClassificationTask):
            console.print(_plot_mistakes(predict(task, examples), run.data.class_names, wrong))
    if onnx is not None:
        console.print(f"ONNX: {export_onnx(run.task, examples.inputs, onnx)}")
    if torch_export is not None:
        console.print(f"torch.export: {export_torch(run.task, examples.inputs, torch_export)}")
    scored = load_result(directory).get("best_step")
    if run.checkpoint == "best" and scored is not None and run.step != scored:
        raise RunError(
            f"{directory}: best.ckpt was saved at step {run.step}, but result.json has the score of step {scored}"
        )
    if deviations := metric_deviations(metrics, recorded, DEVICE_TOLERANCE if run.original_device else 0.0):
        raise RunError(
            f"{directory}: metrics deviate from the recorded ones: {', '.join(deviations)}; {_likely_cause(run)}"
        )


def _plot_mistakes(predictions: Predictions, names: Sequence[str], path: Path) -> str:
    mistakes = predictions.most_confident_errors(MAX_MISTAKES)
    if len(mistakes) == 0:
        return f"{path}: not written, since there are no mistakes"
    plot_predictions(predictions, mistakes, names).savefig(path, facecolor="white", dpi=120)
    return f"the {len(mistakes)} most confident mistakes: {path}"


def _likely_cause(run: LoadedRun) -> str:
    if edits := was_edited(run.directory, load_config(run.directory) or {}):
        return f"its config.yaml was edited: {', '.join(edits)}"
    return changed_splits(run.directory, run.data) or (
        "see its environment.json and code.diff for the versions, machine and code of the run"
    )


def _table(metrics: Metrics, recorded: Metrics) -> Table:
    table = Table("metric", "now", *(["recorded"] if recorded else []))
    rows = (metrics, recorded) if recorded else (metrics,)
    for name in dict.fromkeys([*metrics, *recorded]):
        table.add_row(name, *(str(np.float32(row[name])) if name in row else "" for row in rows))
    return table


def metric_deviations(metrics: Metrics, recorded: Metrics, tolerance: float = 0.0) -> list[str]:
    """List the recorded metrics that differ by more than a tolerance, compared as float32, and by how much.

    >>> metric_deviations({"test/acc": 0.75, "test/loss": 0.5}, {"test/acc": 0.5, "test/loss": 0.5})
    ['test/acc differs by 0.25']
    """
    deviations = []
    for name, value in recorded.items():
        if name not in metrics:
            deviations.append(f"{name} is no longer computed")
            continue
        values = np.array([metrics[name], np.nan if value is None else value], np.float32)  # JSON has no NaN
        if not np.isnan(values).all() and not (difference := abs(values[0] - values[1])) <= tolerance:
            deviations.append(f"{name} differs by {difference:.3g}")
    return deviations
