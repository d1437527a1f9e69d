"""Results of a run: metrics of the best and the last epoch, cost, and the printed table."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from dive.callbacks import ThroughputMonitor
from dive.data.tensor_dataset import TensorDataset
from dive.loggers import ConsoleLogger, MetricsHistoryLogger
from dive.training import result

ROWS = {
    4: {"epoch": 0.0, "val/acc": 0.5, "val/loss": 1.0},
    9: {"epoch": 1.0, "val/acc": 0.75, "val/loss": 0.5},
    14: {"epoch": 2.0, "val/acc": 0.625, "val/loss": 0.25},
    15: {"epoch": 3.0, "test/acc": 0.7},
}
EXAMPLES = TensorDataset(torch.zeros(2, 1), torch.zeros(2, 1))
UNUSED = Path("unused")  # the history writes nothing in these tests


@pytest.fixture(autouse=True)
def best_after_ten_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best checkpoint of `trainer`."""
    real = result.load_checkpoint
    best = {"global_step": 10, "epoch": 1}
    monkeypatch.setattr(result, "load_checkpoint", lambda path: best if str(path) == "best.ckpt" else real(path))


def trainer(
    rows: dict[int, dict[str, float]] | None = ROWS,
    throughput: ThroughputMonitor | None = None,
    checkpoint: tuple[str | None, str] = ("val/acc", "best.ckpt"),
) -> Any:
    """A trainer after three epochs, with one checkpoint callback given by monitor and path."""
    history = MetricsHistoryLogger(UNUSED)
    history.rows = rows or {}
    return SimpleNamespace(
        loggers=[ConsoleLogger()] if rows is None else [ConsoleLogger(), history],
        callbacks=[] if throughput is None else [throughput],
        checkpoint_callbacks=[
            SimpleNamespace(monitor=checkpoint[0], best_model_path=checkpoint[1], best_model_score=0.75)
        ],
        lightning_module=SimpleNamespace(model=nn.Linear(1, 1)),
        datamodule=SimpleNamespace(name="garments", checksums={"train": "5c9fc5ac"}),
        current_epoch=3,
        global_step=15,
    )


def collect(monitor: str = "val/acc", **settings: Any) -> result.Result:
    return result.collect_result(trainer(**settings), {"seed": 7, "monitor": monitor, "mode": "auto"})


def test_the_score_is_from_the_best_epoch() -> None:
    collected = collect("val/acc")
    assert (collected["score"], collected["best_epoch"]) == (0.75, 2)
    assert collected["metrics"]["best"] == {"val/acc": 0.75, "val/loss": 0.5, "test/acc": 0.7}


def test_the_checkpoint_decides_which_step_is_best() -> None:
    rows = ROWS | {12: {"epoch": 2.0, "val/acc": 0.75}, 13: {"epoch": 2.0, "val/acc": 0.9}}
    collected = collect("val/acc", rows=rows)
    assert (collected["score"], collected["best_epoch"], collected["best_step"]) == (0.75, 2, 10)


def test_the_score_does_not_depend_on_the_metrics_csv() -> None:
    collected = collect("val/acc", rows={14: ROWS[14]})
    assert (collected["score"], collected["best_epoch"], collected["best_step"]) == (0.75, 2, 10)
    assert collected["metrics"]["best"] == {"val/acc": 0.75}


def test_a_loss_is_minimized() -> None:
    collected = collect("val/loss")
    assert (collected["score"], collected["best_epoch"]) == (0.25, 3)
    assert collected["metrics"]["best"] == {"val/acc": 0.625, "val/loss": 0.25}


def test_final_metrics_are_the_last_value_of_each() -> None:
    assert collect()["metrics"]["final"] == {"val/acc": 0.625, "val/loss": 0.25}


@pytest.mark.parametrize("checkpoint", [(None, "last.ckpt"), ("val/acc", ""), ("val/loss", "best.ckpt")])
def test_test_metrics_belong_to_the_last_epoch_if_no_best_checkpoint_is_saved(
    checkpoint: tuple[str | None, str],
) -> None:
    metrics = collect(checkpoint=checkpoint)["metrics"]
    assert metrics["final"] == {"val/acc": 0.625, "val/loss": 0.25, "test/acc": 0.7}
    assert metrics["best"] == {"val/acc": 0.75, "val/loss": 0.5}


def test_the_test_metrics_before_a_resume_are_ignored() -> None:
    rows = {9: ROWS[9] | {"test/acc": 0.1}, 14: ROWS[14], 15: ROWS[15]}
    assert collect(rows=rows)["metrics"]["best"]["test/acc"] == 0.7


def test_a_diverged_epoch_is_not_the_best() -> None:
    rows = ROWS | {19: {"epoch": 4.0, "val/acc": float("nan")}, 24: {"epoch": 5.0, "val/acc": float("inf")}}
    assert collect(rows=rows)["score"] == 0.75


def test_without_the_monitored_metric_there_is_no_best_epoch() -> None:
    collected = collect("val/mse")
    assert collected["score"] is collected["best_epoch"] is None
    assert collected["metrics"]["best"] == {}
    assert collected["metrics"]["final"] == {"val/acc": 0.625, "val/loss": 0.25, "test/acc": 0.7}


def test_without_a_history_logger_there_are_no_metrics_but_the_score() -> None:
    collected = collect(rows=None)
    assert collected["score"] == 0.75
    assert collected["metrics"] == {"best": {"val/acc": 0.75}, "final": {}}
    assert collect("val/loss", rows=None)["score"] is None


def test_the_result_has_names_and_counts() -> None:
    collected = collect()
    assert {name: collected[name] for name in ("model", "data", "seed", "monitor", "epochs", "steps")} == {
        "model": "Linear",
        "data": "garments",
        "seed": 7,
        "monitor": "val/acc",
        "epochs": 3,
        "steps": 15,
    }


def test_throughput_is_samples_over_seconds() -> None:
    throughput = ThroughputMonitor()
    throughput.train_samples, throughput.train_seconds = 3000, 1.5
    collected = collect(throughput=throughput)
    assert (collected["train_seconds"], collected["samples_per_second"]) == (1.5, 2000)


@pytest.mark.parametrize("throughput", [None, ThroughputMonitor()], ids=["not measured", "no steps"])
def test_without_steps_there_is_no_throughput(throughput: ThroughputMonitor | None) -> None:
    assert collect(throughput=throughput)["samples_per_second"] is None


def test_a_result_can_be_saved_as_json() -> None:
    throughput = ThroughputMonitor()
    throughput.train_samples, throughput.train_seconds = 3000, 1.5
    collected = collect(throughput=throughput)
    assert json.loads(json.dumps(collected, allow_nan=False)) == collected


def test_the_result_of_a_run_agrees_with_its_metrics_csv(fit: Callable[..., Any], tmp_path: Path) -> None:
    fitted = fit("model=linear_regression", "data.num_train=64", "data.num_val=32", "callbacks.progress_bar=null")
    collected = result.collect_result(fitted.trainer, fitted.settings)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert len(losses) == collected["epochs"] == 3
    assert collected["score"] == min(losses)
    assert collected["metrics"]["final"]["val/loss"] == losses[-1]
    assert (collected["model"], collected["data"], collected["steps"]) == (
        "LinearRegression",
        "synthetic_regression",
        6,
    )
    assert collected["samples_per_second"] == pytest.approx(3 * 64 / collected["train_seconds"])
    assert json.loads(json.dumps(collected, allow_nan=False)) == collected
    assert result.best_checkpoint(fitted.trainer, "val/loss") == str(tmp_path / "checkpoints" / "best.ckpt")
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def best_checkpoint(*checkpoints: tuple[str | None, str]) -> str | None:
    """The best checkpoint of a trainer with checkpoint callbacks given by monitor and path."""
    callbacks = [SimpleNamespace(monitor=monitor, best_model_path=path) for monitor, path in checkpoints]
    return result.best_checkpoint(SimpleNamespace(checkpoint_callbacks=callbacks), "val/acc")


def test_the_best_checkpoint_is_that_of_the_monitored_metric() -> None:
    assert best_checkpoint((None, "last.ckpt"), ("val/acc", "best.ckpt")) == "best.ckpt"


@pytest.mark.parametrize(
    "checkpoints",
    [[], [(None, "last.ckpt")], [("val/acc", ""), (None, "last.ckpt")], [("val/loss", "best.ckpt")]],
)
def test_without_a_callback_for_the_metric_there_is_no_best_checkpoint(
    checkpoints: list[tuple[str | None, str]],
) -> None:
    assert best_checkpoint(*checkpoints) is None


def printed(collected: result.Result, directory: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level("INFO", logger="dive.training.result"):
        result.print_result(collected, directory)
    return "\n".join(record.getMessage() for record in caplog.records).splitlines()


def test_the_table_has_the_best_and_the_last_epoch(caplog: pytest.LogCaptureFixture) -> None:
    lines = printed(collect(), Path("run"), caplog)
    assert " ".join(lines).startswith("Linear on garments: best epoch 2 of 3 ")
    rows = {cells[0]: cells[1:] for line in lines if "│" in line for cells in [line.replace("│", " ").split()]}
    assert rows["val/acc"] == ["0.75", "0.625"]
    assert rows["val/loss"] == ["0.5", "0.25"]
    assert rows["test/acc"] == ["0.7"]


def test_a_long_run_directory_is_printed_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    directory = Path("/") / "/".join(["a long folder [0]"] * 20)
    assert printed(collect(), directory, caplog)[-1] == f"run: {directory}"


def test_a_run_without_metrics_is_printed(caplog: pytest.LogCaptureFixture) -> None:
    assert printed(collect(rows=None), Path("run"), caplog)[-1] == "run: run"


def test_other_ranks_print_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert printed(collect(), Path("run"), caplog) == []
