"""What came out of a run: the best epoch, the last, the cost, and a table of them."""

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
from dive.data.datamodule import Splits
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
# The directory of the history is never written to.
NOWHERE = Path("nowhere")


def trainer(
    rows: dict[int, dict[str, float]] | None = ROWS,
    throughput: ThroughputMonitor | None = None,
    kept: tuple[str | None, str] = ("val/acc", "best.ckpt"),
) -> Any:
    """As it is after a run of three epochs that kept a checkpoint by this monitor."""
    history = MetricsHistoryLogger(NOWHERE)
    history.rows = rows or {}
    return SimpleNamespace(
        loggers=[ConsoleLogger()] if rows is None else [ConsoleLogger(), history],
        callbacks=[] if throughput is None else [throughput],
        checkpoint_callbacks=[SimpleNamespace(monitor=kept[0], best_model_path=kept[1])],
        lightning_module=SimpleNamespace(model=nn.Linear(1, 1)),
        datamodule=SimpleNamespace(name="garments", splits=Splits(EXAMPLES, EXAMPLES)),
        current_epoch=3,
        global_step=15,
    )


def gathered(monitor: str = "val/acc", **settings: Any) -> result.Result:
    return result.collect_result(trainer(**settings), {"seed": 7, "monitor": monitor})


def test_the_score_is_that_of_the_best_epoch() -> None:
    told = gathered("val/acc")
    assert (told["score"], told["best_epoch"]) == (0.75, 2)
    assert told["metrics"]["best"] == {"val/acc": 0.75, "val/loss": 0.5, "test/acc": 0.7}


def test_a_loss_is_best_where_it_is_least() -> None:
    told = gathered("val/loss")
    assert (told["score"], told["best_epoch"]) == (0.25, 3)
    assert told["metrics"]["best"] == {"val/acc": 0.625, "val/loss": 0.25}


def test_the_final_metrics_are_the_last_of_each() -> None:
    assert gathered()["metrics"]["final"] == {"val/acc": 0.625, "val/loss": 0.25}


@pytest.mark.parametrize("kept", [(None, "last.ckpt"), ("val/acc", ""), ("val/loss", "best.ckpt")])
def test_where_the_best_epoch_was_not_kept_the_last_weights_were_tested(kept: tuple[str | None, str]) -> None:
    metrics = gathered(kept=kept)["metrics"]
    assert metrics["final"] == {"val/acc": 0.625, "val/loss": 0.25, "test/acc": 0.7}
    assert metrics["best"] == {"val/acc": 0.75, "val/loss": 0.5}


def test_the_test_of_an_earlier_stretch_of_the_run_is_not_taken_for_the_last() -> None:
    rows = {9: ROWS[9] | {"test/acc": 0.1}, 14: ROWS[14], 15: ROWS[15]}
    assert gathered(rows=rows)["metrics"]["best"]["test/acc"] == 0.7


def test_an_epoch_that_diverged_is_not_the_best() -> None:
    rows = ROWS | {19: {"epoch": 4.0, "val/acc": float("nan")}, 24: {"epoch": 5.0, "val/acc": float("inf")}}
    assert gathered(rows=rows)["score"] == 0.75


def test_a_metric_that_was_never_logged_has_no_best_epoch() -> None:
    told = gathered("val/mse")
    assert told["score"] is told["best_epoch"] is None
    assert told["metrics"]["best"] == {}
    assert told["metrics"]["final"] == {"val/acc": 0.625, "val/loss": 0.25, "test/acc": 0.7}


def test_without_a_history_there_are_no_metrics() -> None:
    told = gathered(rows=None)
    assert told["score"] is None
    assert told["metrics"] == {"best": {}, "final": {}}


def test_what_ran_and_for_how_long_is_told() -> None:
    told = gathered()
    assert {name: told[name] for name in ("model", "data", "seed", "monitor", "epochs", "steps")} == {
        "model": "Linear",
        "data": "garments",
        "seed": 7,
        "monitor": "val/acc",
        "epochs": 3,
        "steps": 15,
    }


def test_the_speed_is_samples_over_seconds() -> None:
    throughput = ThroughputMonitor()
    throughput.samples, throughput.seconds = 3000, 1.5
    told = gathered(throughput=throughput)
    assert (told["train_seconds"], told["samples_per_second"]) == (1.5, 2000)


@pytest.mark.parametrize("throughput", [None, ThroughputMonitor()], ids=["not measured", "no step taken"])
def test_without_steps_there_is_no_speed(throughput: ThroughputMonitor | None) -> None:
    assert gathered(throughput=throughput)["samples_per_second"] is None


def test_a_result_is_json() -> None:
    throughput = ThroughputMonitor()
    throughput.samples, throughput.seconds = 3000, 1.5
    told = gathered(throughput=throughput)
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_a_real_run_gathers_what_its_table_holds(fit: Callable[..., Any], tmp_path: Path) -> None:
    done = fit("model=linear_regression", "data.num_train=64", "data.num_val=32", "callbacks.progress_bar=null")
    told = result.collect_result(done.trainer, done.settings)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]]
    assert len(losses) == told["epochs"] == 3
    assert told["score"] == min(losses)
    assert told["metrics"]["final"]["val/loss"] == losses[-1]
    assert (told["model"], told["data"], told["steps"]) == ("LinearRegression", "synthetic_regression", 6)
    assert told["samples_per_second"] == pytest.approx(3 * 64 / told["train_seconds"])
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert result.best_checkpoint(done.trainer, "val/loss") == str(tmp_path / "checkpoints" / "best.ckpt")
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


def kept(*checkpoints: tuple[str | None, str]) -> str | None:
    """The best checkpoint of a trainer whose checkpoint callbacks have these monitors and paths."""
    callbacks = [SimpleNamespace(monitor=monitor, best_model_path=path) for monitor, path in checkpoints]
    return result.best_checkpoint(SimpleNamespace(checkpoint_callbacks=callbacks), "val/acc")


def test_the_best_checkpoint_is_the_monitored_one() -> None:
    assert kept((None, "last.ckpt"), ("val/acc", "best.ckpt")) == "best.ckpt"


@pytest.mark.parametrize(
    "checkpoints",
    [[], [(None, "last.ckpt")], [("val/acc", ""), (None, "last.ckpt")], [("val/loss", "best.ckpt")]],
)
def test_where_no_best_checkpoint_was_kept_there_is_none(checkpoints: list[tuple[str | None, str]]) -> None:
    assert kept(*checkpoints) is None


def shown(told: result.Result, directory: Path, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level("INFO", logger="dive.training.result"):
        result.print_result(told, directory)
    return "\n".join(record.getMessage() for record in caplog.records).splitlines()


def test_the_table_shows_the_best_epoch_beside_the_last(caplog: pytest.LogCaptureFixture) -> None:
    lines = shown(gathered(), Path("run"), caplog)
    assert " ".join(lines).startswith("Linear on garments: best epoch 2 of 3 ")
    rows = {cells[0]: cells[1:] for line in lines if "│" in line for cells in [line.replace("│", " ").split()]}
    assert rows["val/acc"] == ["0.75", "0.625"]
    assert rows["val/loss"] == ["0.5", "0.25"]
    assert rows["test/acc"] == ["0.7"]


def test_a_long_path_of_the_run_stays_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    directory = Path("/") / "/".join(["a long folder [0]"] * 20)
    assert shown(gathered(), directory, caplog)[-1] == f"run: {directory}"


def test_a_run_without_metrics_is_shown_too(caplog: pytest.LogCaptureFixture) -> None:
    assert shown(gathered(rows=None), Path("run"), caplog)[-1] == "run: run"


def test_processes_of_other_ranks_show_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert shown(gathered(), Path("run"), caplog) == []
