"""The benchmark: ratios are computed correctly, the baselines train, and the report holds the measured values."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import accelerator, operations, processes, report, scaling
from benchmarks.baselines import Baseline, HandWritten, ItemDataLoader, PerStepLogging
from benchmarks.epochs import time_epochs
from benchmarks.paired_timing import PairedTimings, time_in_turn
from benchmarks.report import Row
from dive.config.compose import compose_resolved
from dive.training import instantiate

SMALL = ("data=garments", "data.num_train=192", "data.num_test=64", "data.val_size=64", "data.batch_size=32")


def test_ratio_is_the_median_of_the_pairwise_ratios() -> None:
    pairs = PairedTimings(dive=[1.0, 2.0, 9.0, 4.0, 5.0], baseline=[1.0, 1.0, 3.0, 4.0, 10.0])
    assert pairs.ratios == [1.0, 2.0, 3.0, 1.0, 0.5]
    assert pairs.ratio == 1.0
    assert pairs.spread == (0.75, 2.5)
    assert PairedTimings([1.0, 3.0], [1.0, 2.0]).spread == (1.0, 1.5)


def test_sides_alternate_and_warm_up_pairs_are_dropped() -> None:
    calls: list[str] = []

    def side(name: str) -> Callable[[], float]:
        def measure() -> float:
            calls.append(name)
            return float(len(calls))

        return measure

    pairs = time_in_turn(side("dive"), side("baseline"), repeats=2)
    assert calls == ["baseline", "dive"] * 3
    assert (pairs.dive, pairs.baseline) == ([4.0, 6.0], [3.0, 5.0])


@pytest.mark.slow
@pytest.mark.parametrize("baseline", [HandWritten, PerStepLogging])
def test_each_pair_has_an_epoch_of_each_side(baseline: type[Baseline]) -> None:
    pairs = time_epochs(baseline, ("model=softmax_regression", *SMALL), repeats=2)
    assert len(pairs.dive) == len(pairs.baseline) == 2
    assert min(pairs.dive + pairs.baseline) > 0


@pytest.mark.slow
@pytest.mark.parametrize("baseline_class", [HandWritten, PerStepLogging, accelerator.DeviceLoop])
def test_baselines_train(baseline_class: type[Baseline], tmp_path: Path) -> None:
    config = compose_resolved("model=softmax_regression", *SMALL)
    data = instantiate.instantiate_datamodule(config)
    data.setup()
    baseline = baseline_class(config, data, tmp_path)
    train = data.splits.train
    before = baseline.loss(baseline.model(train.inputs), train.targets).item()
    for _ in range(3):
        assert baseline.seconds() > 0
    assert baseline.loss(baseline.model(train.inputs), train.targets).item() < 0.8 * before


@pytest.mark.slow
def test_item_data_loader_yields_the_same_images(real_data: Path, tmp_path: Path) -> None:
    config = compose_resolved("model=mlp", f"data.root={real_data}", "data.val_size=0")
    data = instantiate.instantiate_datamodule(config)
    data.setup()
    images, labels = next(iter(ItemDataLoader(config, data, tmp_path).val))
    assert torch.equal(images, data.splits.val.inputs[:256])
    assert torch.equal(labels, data.splits.val.targets[:256])


def test_additions_are_timed_in_pairs() -> None:
    pairs = operations.time_addition(3)
    assert len(pairs.dive) == len(pairs.baseline) == 3
    assert min(pairs.dive + pairs.baseline) > 0


def test_runs_are_timed_by_their_recorded_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def run_python(command: Sequence[str]) -> str:
        *words, run_dir = command
        commands.append(" ".join(words))
        directory = Path(run_dir.removeprefix("hydra.run.dir="))
        directory.mkdir()
        (directory / "result.json").write_text(json.dumps({"seconds": float(len(commands))}))
        return ""

    monkeypatch.setattr(processes, "run_python", run_python)
    pairs = processes.time_runs(["model=mlp"], ["model=mlp", "callbacks=lean"], repeats=2)
    assert commands == ["train.py model=mlp callbacks=lean", "train.py model=mlp"] * 3
    assert (pairs.dive, pairs.baseline) == ([4.0, 6.0], [3.0, 5.0])


@pytest.mark.slow
def test_peak_memory_of_the_baseline_grows_with_its_images() -> None:
    many = float(processes.run_python(["-c", processes.HOLD_DATA.format(images=100_000)]))
    few = float(processes.run_python(["-c", processes.HOLD_DATA.format(images=10)]))
    assert many - few == pytest.approx(100_000 * 784 * 5 / 1e6, rel=0.1)


@pytest.mark.slow
def test_first_step_program_stops_after_one_step(tmp_path: Path) -> None:
    words = ("model=linear_regression", "trainer=cpu", "trainer.max_epochs=100000", f"hydra.run.dir={tmp_path}")
    assert processes.run_python(["-c", processes.FIRST_STEP, *words]) == ""
    assert (tmp_path / "config.yaml").exists()
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("bound", "cell", "met"), [(1.5, "1.50: met", True), (1.4, "1.40: NOT MET", False), (None, "", True)]
)
def test_row_states_whether_its_bound_is_met(bound: float | None, cell: str, met: bool) -> None:
    row = Row("dive", "loop", PairedTimings([3.0], [2.0]), bound)
    assert row.cells == ["dive", "loop", "3 s", "2 s", "1.5", "1.5 to 1.5 (1)", cell]
    assert row.met == met


def test_row_without_measurements_has_empty_cells() -> None:
    assert Row("dive", "loop", None, 1.0).cells == ["dive", "loop", "", "", "", "", ""]
    assert Row("dive", "loop", None, 1.0).met


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the report is written to instead of the project root."""
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    (tmp_path / "README.md").write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "EMBEDDED", {"Title": "README.md"})
    return tmp_path


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, project: Path) -> Callable[..., Any]:
    """Run the script with one suite, of a given ratio, and with small sizes for the scaling measurement."""
    script = importlib.import_module("benchmark")

    def suite(pairs: int, images: tuple[str, ...]) -> Iterator[Row]:
        """Title."""
        yield Row("dive", "loop", PairedTimings([ratio] * pairs, [1.0] * pairs), 1.1)

    ratio = 0.0

    def run(new_ratio: float, *arguments: str) -> object:
        nonlocal ratio
        ratio = new_ratio
        monkeypatch.setattr(sys, "argv", ["benchmark.py", "--pairs", "2", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            script.main()
        return exit_info.value.code

    monkeypatch.setattr(script, "SUITES", {"suite": suite})
    monkeypatch.setattr(script, "ALL", ["suite", "growth", "gpu"])
    monkeypatch.setattr(script, "FIGURE", project / "docs" / "figures" / "growth.png")
    monkeypatch.setattr(scaling, "DEFAULTS", {"examples": 64, "batch size": 32, "hidden units": 4, "classes": 3})
    monkeypatch.setattr(scaling, "SIZES", {"examples": (32, 64), "classes": (2,)})
    monkeypatch.setattr(script, "image_data_overrides", lambda: SMALL)
    return run


@pytest.mark.slow
def test_report_holds_the_measured_values(
    benchmark: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (project / "docs" / "benchmarks.md").write_text("# Benchmarks\n\nold\n\n## GPU\n\nmeasured elsewhere\n")
    assert benchmark(1.05) == 0
    written = (project / "docs" / "benchmarks.md").read_text()
    assert "| dive | loop | 1.05 s | 1 s | 1.05 | 1.05 to 1.05 (2) | 1.10: met |" in written
    assert "| examples | 32 |" in written
    assert torch.__version__ in written
    assert written.endswith("\n\n## GPU\n\nmeasured elsewhere\n")
    assert "old" not in written
    assert (project / "docs" / "figures" / "growth.png").read_bytes().startswith(b"\x89PNG")
    readme = (project / "README.md").read_text()
    assert readme.startswith("before\n<!-- bench -->\n| what | compared with |")
    assert readme.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in readme


def test_exceeded_bound_sets_the_exit_status(benchmark: Callable[..., Any]) -> None:
    assert benchmark(1.2, "--only", "suite") == "1 bounds are not met"


def test_selected_parts_write_no_report(benchmark: Callable[..., Any], project: Path) -> None:
    assert benchmark(1.05, "--only", "suite") == 0
    assert not (project / "docs" / "benchmarks.md").exists()


def test_gpu_variant_that_fails_leaves_its_cell_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit_seconds(overrides: tuple[str, ...], fits: int) -> list[float]:
        if "trainer.compile=true" in overrides:
            raise RuntimeError("no compiler")
        return [2.0] * fits

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(accelerator, "fit_seconds", fit_seconds)
    monkeypatch.setattr(accelerator, "loop_seconds", lambda _, fits: [1.6] * fits)
    rows = accelerator.section(()).splitlines()
    assert "| hand-written loop, TF32 |  | 1.6 s | 1 |" in rows
    assert "| compiled | `trainer.compile=true` |  |  |" in rows
    assert "| TF32 | `trainer.matmul_precision=high` | 2 s | 1.25 |" in rows


def test_hand_written_loop_is_timed_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    times = accelerator.loop_seconds(SMALL, fits=2, device="cpu")
    assert len(times) == 2
    assert min(times) > 0
