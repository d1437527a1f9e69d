"""scripts/evaluate.py: metrics, predictions, plots of mistakes, exports."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.image import imread
from tests.short_runs import shortened, train_short

from dive.data import SyntheticGarments
from dive.evaluation.loaded_run import load_run
from dive.evaluation.rebuild import replace_data
from dive.runs.record import Config

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate.py"
Call = Callable[..., str]
Train = Callable[..., Any]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the script and return its output."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_metrics_are_printed_beside_the_recorded_ones(train_once: Train, call: Call) -> None:
    run = train_once(*shortened("mlp"))
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")}
    out = call(run.directory)
    assert {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")} == before  # the script only reads
    assert f"{run.directory}: best.ckpt, test split of garments, 64 examples" in out
    for name in ("test/acc", "test/loss"):
        (line,) = [line for line in out.splitlines() if name in line]
        assert line.count(str(run.result["metrics"]["best"][name])) == 2
    assert "val/acc" in call(run.directory, "--split", "val")
    assert "recorded" not in call(run.directory, "--checkpoint", "last")  # the test runs on the best epoch only
    assert "recorded" in call(run.directory, "--checkpoint", "last", "--split", "val")


def test_deviation_from_the_record_is_an_error_that_names_the_metric(
    train_once: Train, call: Call, tmp_path: Path
) -> None:
    run = shutil.copytree(train_once(*shortened("mlp")).directory, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["metrics"]["best"]["test/loss"] += 0.25
    (run / "result.json").write_text(json.dumps(result))
    with pytest.raises(
        SystemExit, match=r"deviate from the recorded ones: test/loss differs by 0.25; see its environment"
    ):
        call(run)
    result["data_crc32"]["test"] = "01234567"
    (run / "result.json").write_text(json.dumps(result))
    with pytest.raises(SystemExit, match=r"the test split of garments differs from the run's$"):
        call(run)


def test_a_best_checkpoint_of_another_step_is_an_error(train_once: Train, call: Call, tmp_path: Path) -> None:
    run = shutil.copytree(train_once(*shortened("mlp")).directory, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    step = result["best_step"]
    (run / "result.json").write_text(json.dumps(result | {"best_step": step + 1}))
    message = f"best.ckpt was saved at step {step}, but result.json has the score of step {step + 1}$"
    with pytest.raises(SystemExit, match=message):
        call(run)
    call(run, "--checkpoint", "last")


@pytest.mark.parametrize(
    "settings",
    [
        ["+trainer.val_check_interval=0.5"],
        ["+trainer.val_check_interval=3"],
        ["+trainer.check_val_every_n_epoch=2", "callbacks=early_stopping"],
    ],
)
def test_the_recorded_score_is_that_of_the_best_checkpoint(
    settings: list[str], train_once: Train, call: Call
) -> None:
    run = train_once(*shortened("mlp"), "trainer.max_epochs=4", "data.batch_size=16", *settings)
    score = run.result["score"]
    assert run.result["metrics"]["best"]["val/acc"] == score
    (line,) = [line for line in call(run.directory, "--split", "val").splitlines() if "val/acc" in line]
    assert line.count(str(score)) == 2


def test_predictions_have_one_row_per_example(train_once: Train, call: Call, tmp_path: Path) -> None:
    run = train_once(*shortened("softmax_regression_scratch"))  # its model returns probabilities
    call(run.directory, "--predictions", tmp_path / "predictions.csv")
    table = pd.read_csv(tmp_path / "predictions.csv")
    names = list(SyntheticGarments.class_names)
    assert list(table) == ["index", "true", "predicted", *names]
    assert list(table["index"]) == list(range(64))
    np.testing.assert_allclose(table[names].sum(axis=1), 1, rtol=1e-5)
    assert list(table["predicted"]) == list(table[names].idxmax(axis=1))
    accuracy = (table["predicted"] == table["true"]).mean()
    assert accuracy == pytest.approx(run.result["metrics"]["best"]["test/acc"])


def test_predicted_probabilities_are_the_softmax_of_the_logits(
    train_once: Train, call: Call, tmp_path: Path
) -> None:
    run = train_once(*shortened("mlp"))
    call(run.directory, "--predictions", tmp_path / "predictions.csv", "--split", "val")
    loaded = load_run(run.directory)
    loaded.task.eval()
    expected = torch.softmax(loaded.task.model(loaded.examples("val").inputs), dim=1).detach().numpy()
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "predictions.csv").iloc[:, 3:], expected, rtol=1e-4, atol=1e-6
    )


def test_predictions_of_a_regression(train_once: Train, call: Call, tmp_path: Path) -> None:
    run = train_once(*shortened("linear_regression"))
    assert "val split of synthetic_regression" in call(
        run.directory, "--predictions", tmp_path / "predictions.csv"
    )
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert list(table) == ["index", "true", "predicted"]
    error = ((table["true"] - table["predicted"]) ** 2).mean()
    assert error == pytest.approx(run.result["metrics"]["best"]["val/mse"], rel=1e-3)


def test_predictions_are_in_the_units_of_the_targets(train: Train, call: Call, tmp_path: Path) -> None:
    rows = pd.DataFrame({"size": range(50, 70), "Price": range(100_000, 300_000, 10_000)})
    rows.to_csv(tmp_path / "mine.csv", index=False)
    run = train("experiment=house_tiny", "trainer=cpu", "data.path=mine.csv")
    call(run.directory, "--predictions", tmp_path / "predictions.csv")
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert len(table) == 5
    assert set(table["true"]) < set(rows["Price"])
    assert table["predicted"].between(90_000, 310_000).all()


def test_mistakes_are_plotted(
    train_once: Train, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(config: Config, name: str) -> Config:
        return config | {
            "data": replace_data(config, name)["data"] | {"num_train": 8, "num_test": 256, "val_size": 4}
        }

    monkeypatch.setattr("dive.evaluation.loaded_run.replace_data", replace)
    run = train_once(*shortened("mlp")).directory
    out = call(run, "--wrong", tmp_path / "wrong.png", "--data", "garments")
    assert "recorded" not in out
    assert f"the 40 most confident mistakes: {tmp_path / 'wrong.png'}" in out
    assert imread(tmp_path / "wrong.png").std() > 0


def test_without_mistakes_nothing_is_plotted(
    train_once: Train, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train_once(*shortened("mlp")).directory
    monkeypatch.setattr(
        "dive.evaluation.evaluate.Predictions.most_confident_errors",
        lambda *_: torch.tensor([], dtype=torch.int64),
    )
    assert "not written, since there are no mistakes" in call(run, "--wrong", tmp_path / "wrong.png")
    assert not (tmp_path / "wrong.png").exists()


def test_model_is_exported_for_torch_export_load(call: Call, tmp_path: Path) -> None:
    run = train_short(tmp_path / "run", "mlp", "trainer.precision=64-true")
    out = call(run, "--torch-export", tmp_path / "out.pt2")
    assert f"torch.export: {tmp_path / 'out.pt2'}: (batch, 1, 28, 28) to logits; verified with batches of" in out
    loaded = load_run(run)
    loaded.task.eval()
    with loaded.inference_mode() as task:
        inputs = loaded.examples("test").inputs.double()
        assert torch.allclose(torch.export.load(tmp_path / "out.pt2").module()(inputs), task.model(inputs))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true"])
def test_outputs_at_reduced_precision(precision: str, call: Call, tmp_path: Path) -> None:
    run = train_short(tmp_path / "run", "mlp", f"trainer.precision={precision}")
    files = {word: tmp_path / word.strip("-") for word in ("--predictions", "--torch-export")}
    call(run, *(word for pair in files.items() for word in pair), "--wrong", tmp_path / "wrong.png")
    table = pd.read_csv(files["--predictions"])
    recorded = load_run(run).recorded("test")
    assert (table["true"] == table["predicted"]).mean() == pytest.approx(recorded["test/acc"], abs=0.011)


def test_limited_test_batches_are_reported(call: Call, tmp_path: Path) -> None:
    run = train_short(tmp_path / "run", "mlp", "trainer.limit_test_batches=1")
    assert ", limited by trainer.limit_test_batches=1" in call(run)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--wrong", "wrong.png"),
            "wrong.png: needs an image classification data set, and synthetic_regression is not one",
        ),
        (("--wrong", "wrong.mp3"), "wrong.mp3: must end in .png, .pdf, .svg"),
        (("--predictions", "nowhere/predictions.csv"), "nowhere/predictions.csv: its directory does not exist"),
        (("--predictions", "folder"), "folder: is a directory"),
        (("--torch-export", "folder"), "folder: is a directory"),
        (("--split", "test"), "synthetic_regression has no test split; choose --split val"),
        (("--accelerator", "mps"), "trainer.accelerator=mps: not available here"),
        (("--data", "nothing"), "data=nothing: unknown; choose from"),
    ],
)
def test_errors_are_one_line(
    arguments: tuple[str, ...],
    message: str,
    train_once: Train,
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = train_once(*shortened("linear_regression")).directory
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^error: .*{message}") as exit_info:
        call(run, *arguments)
    assert "\n" not in str(exit_info.value)


def test_missing_onnx_is_reported_before_the_run_is_read(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dive.evaluation.export.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match=r"^error: onnx.*: not installed.*'.\[export\]'$"):
        call(tmp_path / "nothing", "--onnx", tmp_path / "out.onnx")


@pytest.mark.parametrize("script", ["evaluate", "reproduce", "compare"])
def test_help_does_not_import_torch(script: str) -> None:
    program = (
        f"import runpy, sys; sys.argv = [{script!r}, '--help']\n"
        f"try: runpy.run_path({str(SCRIPT.with_name(f'{script}.py'))!r}, run_name='__main__')\n"
        "finally: print([name for name in ('torch', 'pandas', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "RUN_DIR" in done.stdout
    assert done.stdout.endswith("[]\n")
