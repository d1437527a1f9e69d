"""The benchmark: its ratios are ratios, its peers learn, and what it writes is what was measured."""

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import operations, processes, report, scaling
from benchmarks.baselines import HandWritten, ItemDataLoader, Peer, PerStepLogging
from benchmarks.epochs import against
from benchmarks.paired_timing import PairedTimings, time_in_turn
from benchmarks.report import Row
from dive.config.compose import compose_resolved
from dive.training import instantiate

SMALL = ("data=garments", "data.num_train=192", "data.num_test=64", "data.val_size=64", "data.batch_size=32")


def test_a_ratio_is_the_median_over_pairs_and_not_that_of_the_sides() -> None:
    pairs = PairedTimings(ours=[1.0, 2.0, 9.0, 4.0, 5.0], peers=[1.0, 1.0, 3.0, 4.0, 10.0])
    assert pairs.ratios == [1.0, 2.0, 3.0, 1.0, 0.5]
    assert pairs.ratio == 1.0
    assert pairs.spread == (0.75, 2.5)
    assert PairedTimings([1.0, 3.0], [1.0, 2.0]).spread == (1.0, 1.5)


def test_both_sides_take_turns_and_the_first_of_each_only_warms_up() -> None:
    called: list[str] = []

    def said(name: str) -> Callable[[], float]:
        def say() -> float:
            called.append(name)
            return float(len(called))

        return say

    pairs = time_in_turn(said("ours"), said("peer"), repeats=2)
    assert called == ["peer", "ours"] * 3
    assert (pairs.ours, pairs.peers) == ([4.0, 6.0], [3.0, 5.0])


@pytest.mark.parametrize("peer", [HandWritten, PerStepLogging])
def test_each_pair_has_an_epoch_of_each_side(peer: type[Peer]) -> None:
    pairs = against(peer, ("model=softmax_regression", *SMALL), repeats=2)
    assert len(pairs.ours) == len(pairs.peers) == 2
    assert min(pairs.ours + pairs.peers) > 0


@pytest.mark.parametrize("kind", [HandWritten, PerStepLogging])
def test_peers_do_learn(kind: type[Peer], tmp_path: Path) -> None:
    config = compose_resolved("model=softmax_regression", *SMALL)
    data = instantiate.instantiate_datamodule(config)
    data.setup()
    peer = kind(config, data, tmp_path)
    train = data.splits.train
    before = peer.loss(peer.model(train.inputs), train.targets).item()
    for _ in range(3):
        assert peer.seconds() > 0
    assert peer.loss(peer.model(train.inputs), train.targets).item() < 0.8 * before


def test_torchvision_s_images_are_ours(real_data: Path, tmp_path: Path) -> None:
    config = compose_resolved("model=mlp", f"data.root={real_data}", "data.val_size=0")
    data = instantiate.instantiate_datamodule(config)
    data.setup()
    theirs = next(iter(ItemDataLoader(config, data, tmp_path).val))
    assert torch.equal(theirs[0], data.splits.val.inputs[:256])
    assert torch.equal(theirs[1], data.splits.val.targets[:256])


def test_additions_are_timed_pair_by_pair() -> None:
    pairs = operations.addition(3)
    assert len(pairs.ours) == len(pairs.peers) == 3
    assert min(pairs.ours + pairs.peers) > 0


def test_whole_runs_are_timed_by_their_own_record(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: Sequence[str]) -> str:
        *words, place = command
        asked.append(" ".join(words))
        directory = Path(place.removeprefix("hydra.run.dir="))
        directory.mkdir()
        (directory / "result.json").write_text(json.dumps({"seconds": float(len(asked))}))
        return ""

    monkeypatch.setattr(processes, "run", run)
    pairs = processes.runs(["model=mlp"], ["model=mlp", "callbacks=lean"], repeats=2)
    assert asked == ["train.py model=mlp callbacks=lean", "train.py model=mlp"] * 3
    assert (pairs.ours, pairs.peers) == ([4.0, 6.0], [3.0, 5.0])


def test_a_process_s_memory_is_that_of_its_data() -> None:
    ours = float(processes.run(["-c", processes.HOLD_DATA.format(images=100_000)]))
    fewer = float(processes.run(["-c", processes.HOLD_DATA.format(images=10)]))
    assert ours - fewer == pytest.approx(100_000 * 784 * 5 / 1e6, rel=0.1)


def test_the_first_step_is_the_last_thing_that_is_done(tmp_path: Path) -> None:
    words = ("model=linear_regression", "trainer=cpu", "trainer.max_epochs=100000", f"hydra.run.dir={tmp_path}")
    assert processes.run(["-c", processes.FIRST_STEP, *words]) == ""
    assert (tmp_path / "config.yaml").exists()
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("bound", "said", "met"), [(1.5, "1.50: met", True), (1.4, "1.40: NOT MET", False), (None, "", True)]
)
def test_a_row_says_whether_its_bound_is_met(bound: float | None, said: str, met: bool) -> None:
    row = Row("ours", "theirs", PairedTimings([3.0], [2.0]), bound)
    assert row.cells == ["ours", "theirs", "3 s", "2 s", "1.5", "1.5 to 1.5 (1)", said]
    assert row.met == met


def test_what_was_not_measured_is_an_empty_cell() -> None:
    assert Row("ours", "theirs", None, 1.0).cells == ["ours", "theirs", "", "", "", "", ""]
    assert Row("ours", "theirs", None, 1.0).met


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to write to, in the place of the project's."""
    (tmp_path / "docs" / "figures").mkdir(parents=True)
    (tmp_path / "README.md").write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "SHOWN", {"A part": "README.md"})
    return tmp_path


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, project: Path) -> Callable[..., Any]:
    """Run the script with one part, whose ratio is given, and the growth of small things."""
    script = importlib.import_module("benchmark")

    def part(pairs: int, images: tuple[str, ...]) -> Iterator[Row]:
        """A part."""
        yield Row("ours", "theirs", PairedTimings([ratio] * pairs, [1.0] * pairs), 1.1)

    ratio = 0.0

    def run(of: float, *arguments: str) -> object:
        nonlocal ratio
        ratio = of
        monkeypatch.setattr(sys, "argv", ["benchmark.py", "--pairs", "2", *arguments])
        with pytest.raises(SystemExit) as left:
            script.main()
        return left.value.code

    monkeypatch.setattr(script, "PARTS", {"part": part})
    monkeypatch.setattr(script, "ALL", ["part", "growth", "gpu"])
    monkeypatch.setattr(script, "PICTURE", project / "docs" / "figures" / "growth.png")
    monkeypatch.setattr(scaling, "USUAL", {"examples": 64, "batch size": 32, "hidden units": 4, "classes": 3})
    monkeypatch.setattr(scaling, "VARIED", {"examples": (32, 64), "classes": (2,)})
    monkeypatch.setattr(script, "image_data", lambda: SMALL)
    return run


def test_what_is_written_is_what_was_measured(benchmark: Callable[..., Any], project: Path) -> None:
    assert benchmark(1.05) == 0
    written = (project / "docs" / "benchmarks.md").read_text()
    assert "| ours | theirs | 1.05 s | 1 s | 1.05 | 1.05 to 1.05 (2) | 1.10: met |" in written
    assert "| examples | 32 |" in written
    assert torch.__version__ in written
    assert (project / "docs" / "figures" / "growth.png").read_bytes().startswith(b"\x89PNG")
    readme = (project / "README.md").read_text()
    assert readme.startswith("before\n<!-- bench -->\n| ours | compared with |")
    assert readme.endswith("<!-- /bench -->\nafter\n")
    assert "old" not in readme


def test_a_bound_that_is_not_met_is_a_failure(benchmark: Callable[..., Any]) -> None:
    assert benchmark(1.2) == "1 bounds are not met"


def test_parts_alone_are_not_written(benchmark: Callable[..., Any], project: Path) -> None:
    assert benchmark(1.05, "--only", "part") == 0
    assert not (project / "docs" / "benchmarks.md").exists()
