"""Evaluation of a run from the command line: metrics, predictions, pictures, exports."""

import json
import runpy
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
from tests.short import shortened

from dive.data import SyntheticGarments
from dive.evaluation import evaluate
from dive.evaluation.loaded_run import load_run

SCRIPT = Path(__file__).parents[2] / "scripts" / "evaluate.py"
Evaluate = Callable[..., str]
Train = Callable[..., Any]


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Run the script, and return what it prints."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_it_prints_what_it_finds_beside_what_was_recorded(train: Train, evaluate: Evaluate) -> None:
    run = train(*shortened("mlp"))
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")}
    said = evaluate(run.directory)
    assert {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")} == before  # it only reads
    assert f"{run.directory}: best.ckpt, test split of garments, 64 examples" in said
    for name in ("test/acc", "test/loss"):
        (line,) = [line for line in said.splitlines() if name in line]
        assert line.count(str(run.result["metrics"]["best"][name])) == 2
    assert "val/acc" in evaluate(run.directory, "--split", "val")
    assert "recorded" not in evaluate(run.directory, "--checkpoint", "last")  # whose test was never done
    assert "recorded" in evaluate(run.directory, "--checkpoint", "last", "--split", "val")


def test_what_is_not_as_recorded_is_a_failure_that_names_the_metric(train: Train, evaluate: Evaluate) -> None:
    run = train(*shortened("mlp"))
    result = json.loads((run.directory / "result.json").read_text())
    result["metrics"]["best"]["test/loss"] += 0.25
    (run.directory / "result.json").write_text(json.dumps(result))
    with pytest.raises(
        SystemExit, match=r"not what was recorded: test/loss differs by 0.25; its environment.json"
    ):
        evaluate(run.directory)
    result["data_crc32"]["test"] = "01234567"
    (run.directory / "result.json").write_text(json.dumps(result))
    with pytest.raises(SystemExit, match=r"the test split of garments is not the one of the run$"):
        evaluate(run.directory)


def test_predictions_are_a_row_an_example(train: Train, evaluate: Evaluate, tmp_path: Path) -> None:
    run = train(*shortened("softmax_regression_scratch"))  # whose model returns probabilities
    evaluate(run.directory, "--predictions", tmp_path / "said.csv")
    table = pd.read_csv(tmp_path / "said.csv")
    names = list(SyntheticGarments.class_names)
    assert list(table) == ["index", "true", "predicted", *names]
    assert list(table["index"]) == list(range(64))
    np.testing.assert_allclose(table[names].sum(axis=1), 1, rtol=1e-5)
    assert list(table["predicted"]) == list(table[names].idxmax(axis=1))
    accuracy = (table["predicted"] == table["true"]).mean()
    assert accuracy == pytest.approx(run.result["metrics"]["best"]["test/acc"])


def test_probabilities_of_logits_are_their_softmax(train: Train, evaluate: Evaluate, tmp_path: Path) -> None:
    run = train(*shortened("mlp"))
    evaluate(run.directory, "--predictions", tmp_path / "said.csv", "--split", "val")
    again = load_run(run.directory)
    again.task.eval()
    expected = torch.softmax(again.task.model(again.examples("val").inputs), dim=1).detach().numpy()
    np.testing.assert_allclose(pd.read_csv(tmp_path / "said.csv").iloc[:, 3:], expected, rtol=1e-4, atol=1e-6)


def test_predictions_of_numbers(train: Train, evaluate: Evaluate, tmp_path: Path) -> None:
    run = train(*shortened("linear_regression"))
    assert "val split of synthetic_regression" in evaluate(run.directory, "--predictions", tmp_path / "said.csv")
    table = pd.read_csv(tmp_path / "said.csv")
    assert list(table) == ["index", "true", "predicted"]
    error = ((table["true"] - table["predicted"]) ** 2).mean()
    assert error == pytest.approx(run.result["metrics"]["best"]["val/mse"], rel=1e-3)


def test_predictions_of_prices_are_prices(train: Train, evaluate: Evaluate, tmp_path: Path) -> None:
    rows = pd.DataFrame({"size": range(50, 70), "Price": range(100_000, 300_000, 10_000)})
    rows.to_csv(tmp_path / "mine.csv", index=False)
    run = train("experiment=house_tiny", "trainer=cpu", f"data.path={tmp_path / 'mine.csv'}", "optimizer.lr=0.1")
    evaluate(run.directory, "--predictions", tmp_path / "said.csv")
    table = pd.read_csv(tmp_path / "said.csv")
    assert len(table) == 5
    assert set(table["true"]) < set(rows["Price"])
    assert table["predicted"].between(90_000, 310_000).all()


def test_the_wrong_ones_are_drawn(train: Train, evaluate: Evaluate, tmp_path: Path) -> None:
    run = train(*shortened("mlp")).directory
    said = evaluate(run, "--wrong", tmp_path / "wrong.png", "--data", "garments")
    assert "recorded" not in said
    assert f"the 40 most confident mistakes: {tmp_path / 'wrong.png'}" in said
    assert imread(tmp_path / "wrong.png").std() > 0


def test_where_none_is_wrong_nothing_is_drawn(
    train: Train, evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(*shortened("mlp")).directory
    monkeypatch.setattr(evaluate.Predictions, "mistakes", lambda *_: torch.tensor([], dtype=torch.int64))
    assert "not drawn, since none is wrong" in evaluate(run, "--wrong", tmp_path / "wrong.png")
    assert not (tmp_path / "wrong.png").exists()


def test_the_model_is_written_for_other_programs(train: Train, evaluate: Evaluate, tmp_path: Path) -> None:
    run = train(*shortened("mlp"), "trainer.precision=64-true").directory
    said = evaluate(run, "--torch-export", tmp_path / "out.pt2")
    assert f"torch.export: {tmp_path / 'out.pt2'}: (batch, 1, 28, 28) to logits; read again" in said
    again = load_run(run)
    again.task.eval()
    with again.inference_mode() as task:
        inputs = again.examples("test").inputs.double()
        assert torch.allclose(torch.export.load(tmp_path / "out.pt2").module()(inputs), task.model(inputs))


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "16-true"])
def test_what_a_model_of_few_digits_says_is_written(
    precision: str, train: Train, evaluate: Evaluate, tmp_path: Path
) -> None:
    run = train(*shortened("mlp"), f"trainer.precision={precision}").directory
    files = {word: tmp_path / word.strip("-") for word in ("--predictions", "--torch-export")}
    evaluate(run, *(word for pair in files.items() for word in pair), "--wrong", tmp_path / "wrong.png")
    table = pd.read_csv(files["--predictions"])
    again = load_run(run).recorded("test")
    assert (table["true"] == table["predicted"]).mean() == pytest.approx(again["test/acc"], abs=0.011)


def test_that_a_part_alone_is_scored_is_told(train: Train, evaluate: Evaluate) -> None:
    run = train(*shortened("mlp"), "+trainer.limit_test_batches=1").directory
    assert ", of which trainer.limit_test_batches=1 is scored" in evaluate(run)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--wrong", "wrong.png"),
            "wrong.png: only images of classes can be drawn, and synthetic_regression has none",
        ),
        (("--wrong", "wrong.mp3"), "wrong.mp3: must end in .png, .pdf, .svg"),
        (("--predictions", "nowhere/said.csv"), "nowhere/said.csv: its folder does not exist"),
        (("--predictions", "folder"), "folder: is a folder"),
        (("--torch-export", "folder"), "folder: is a folder"),
        (("--split", "test"), "synthetic_regression has no test split; choose --split val"),
        (("--accelerator", "mps"), "trainer.accelerator=mps: this machine has none"),
        (("--data", "nothing"), "data=nothing: unknown; choose from"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...],
    says: str,
    train: Train,
    evaluate: Evaluate,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = train(*shortened("linear_regression")).directory
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^error: .*{says}") as told:
        evaluate(run, *arguments)
    assert "\n" not in str(told.value)


def test_onnx_that_is_not_installed_is_told_before_anything_is_read(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dive.evaluation.export.find_spec", lambda _: None)
    with pytest.raises(SystemExit, match=r"^error: onnx.*: not installed.*'.\[export\]'$"):
        evaluate(tmp_path / "nothing", "--onnx", tmp_path / "out.onnx")


@pytest.mark.parametrize("script", ["evaluate", "reproduce", "compare"])
def test_help_does_not_wait_for_torch(script: str) -> None:
    program = (
        f"import runpy, sys; sys.argv = [{script!r}, '--help']\n"
        f"try: runpy.run_path({str(SCRIPT.with_name(f'{script}.py'))!r}, run_name='__main__')\n"
        "finally: print([name for name in ('torch', 'pandas', 'hydra') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "RUN_DIR" in done.stdout
    assert done.stdout.endswith("[]\n")
