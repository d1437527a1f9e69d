"""A run's directory: claimed by one, written from the beginning on, its result last."""

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from pytorch_lightning.utilities import rank_zero_only
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dive.errors import RunError
from dive.runs import checkpoint_io, provenance
from dive.runs import run as module
from dive.runs.logging import LOG_LEVELS
from dive.runs.run import Run, peak_memory_mb

CONFIG = {
    "seed": 0,
    "model": {"_target_": "dive.models.MLP", "num_hiddens": [64, 64]},
    "resume": None,
    "name": "ä",
}
LOOPS = {"fit_loop": {"epoch_progress": {"current": {"processed": 3}}}}
CHECKPOINT = {"state_dict": {}, "loops": LOOPS}
BEGINNING = {".lock", "config.yaml", "command.txt", "environment.json", "code.diff", "train.log"}


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A run sends messages to its own file; afterwards they go where they went."""
    before = {name: (logging.getLogger(name).propagate, logging.getLogger(name).level) for name in LOG_LEVELS}
    yield
    for name, (propagate, level) in before.items():
        logger = logging.getLogger(name)
        logger.propagate = propagate
        logger.setLevel(level)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Of a run to be; it does not exist yet."""
    return tmp_path / "outputs" / "run"


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def result(directory: Path) -> dict[str, Any]:
    """What ``result.json`` holds, which must be JSON by the letter."""
    return json.loads((directory / "result.json").read_text(), parse_constant=refuse)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def resumable(directory: Path) -> Path:
    """A finished run with a checkpoint."""
    with Run(directory, CONFIG) as run:
        checkpoint_io.save_checkpoint(CHECKPOINT, directory / "checkpoints" / "last.ckpt")
        run.finish({"score": 0.5})
    return directory


# The claim.


def test_a_run_makes_its_directory(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        assert run.directory == directory
        assert directory.is_dir()


def test_a_directory_with_nothing_but_hydra_s_files_can_be_claimed(directory: Path) -> None:
    (directory / ".hydra").mkdir(parents=True)
    with Run(directory, CONFIG):
        assert files(directory).keys() == BEGINNING


def test_a_second_run_in_the_same_directory_is_refused_and_changes_nothing(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5})
    before = files(directory)
    with pytest.raises(RunError) as caught, Run(directory, CONFIG | {"seed": 1}):
        pytest.fail("it must not run")
    assert str(caught.value) == (
        f"{directory} already holds a run; choose another hydra.run.dir, or go on with it: resume={directory}"
    )
    assert files(directory) == before


def test_a_directory_whose_run_still_goes_is_refused(directory: Path) -> None:
    with Run(directory, CONFIG), pytest.raises(RunError, match="a run is under way in it"), Run(directory, CONFIG):
        pytest.fail("it must not run")


def test_of_eight_runs_that_claim_a_directory_at_once_one_wins(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It sets up the loggers of the process, not of a thread.
    monkeypatch.setattr(module, "log_to", lambda *_, **__: None)
    for attempt in range(5):
        target = directory.with_name(f"run{attempt}")
        barrier = threading.Barrier(8)

        def claim(seed: int, target: Path = target, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            try:
                with Run(target, CONFIG | {"seed": seed}) as run:
                    run.finish({"score": seed})
            except RunError:
                return None
            return seed

        with ThreadPoolExecutor(8) as pool:
            winners = [seed for seed in pool.map(claim, range(8)) if seed is not None]
        assert len(winners) == 1
        assert yaml.safe_load((target / "config.yaml").read_text())["seed"] == winners[0]
        assert result(target)["score"] == winners[0]
        assert len((target / "command.txt").read_text().splitlines()) == 1


def test_a_file_in_the_way_of_the_directory_is_an_error_that_names_it(directory: Path) -> None:
    directory.parent.mkdir()
    directory.write_text("in the way")
    with pytest.raises(FileExistsError) as caught, Run(directory, CONFIG):
        pytest.fail("it must not run")
    assert caught.value.filename == str(directory)


# The story.


def test_the_beginning_is_written_before_anything_runs(directory: Path) -> None:
    with Run(directory, CONFIG):
        assert files(directory).keys() == BEGINNING
        assert yaml.safe_load((directory / "config.yaml").read_text()) == CONFIG
        assert (directory / "command.txt").read_text() == provenance.command() + "\n"
        assert json.loads((directory / "environment.json").read_text()) == provenance.environment()
        assert not (directory / "result.json").exists()


def test_the_configuration_keeps_its_order(directory: Path) -> None:
    with Run(directory, CONFIG):
        assert list(yaml.safe_load((directory / "config.yaml").read_text())) == list(CONFIG)


def test_the_diff_of_the_code_is_recorded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "code_diff", lambda: "-old\n+new\n")
    with Run(directory, CONFIG):
        assert (directory / "code.diff").read_text() == "-old\n+new\n"


def test_messages_go_to_the_log_with_time_and_origin(directory: Path) -> None:
    with Run(directory, CONFIG):
        logging.getLogger("dive.some.where").info("an epoch")
        logging.getLogger("another.library").error("not ours")
    (line,) = (directory / "train.log").read_text().splitlines()
    assert line.endswith("INFO dive.some.where: an epoch")
    assert line[:2] == "20"


def test_the_result_is_written_last_and_says_what_came_out(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        (directory / "metrics.csv").write_text("step\n")
        assert not (directory / "result.json").exists()
        run.finish({"score": 0.875, "metrics": {"best": {"val/acc": 0.875}}})
    told = result(directory)
    assert told["status"] == "finished"
    assert told["score"] == 0.875
    assert told["metrics"] == {"best": {"val/acc": 0.875}}
    assert 0 <= told["seconds"] < 60
    assert told["peak_memory_mb"]["cpu"] > 10
    assert "error" not in told
    others = [
        path.stat().st_mtime_ns for path in directory.iterdir() if path.name not in ("result.json", "train.log")
    ]
    assert (directory / "result.json").stat().st_mtime_ns >= max(others)


def test_nothing_temporary_stays(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({})
    assert files(directory).keys() == BEGINNING | {"result.json"}


def test_a_run_without_a_result_has_none(directory: Path) -> None:
    with Run(directory, CONFIG):
        pass
    assert not (directory / "result.json").exists()


def test_a_failed_run_says_why_and_passes_the_error_on(directory: Path) -> None:
    with pytest.raises(ValueError, match="boom"), Run(directory, CONFIG):
        raise ValueError("boom")
    told = result(directory)
    assert (told["status"], told["error"]) == ("failed", "ValueError: boom")
    assert told["seconds"] >= 0
    assert "score" not in told


@pytest.mark.parametrize(
    ("error", "exit_code"), [(KeyboardInterrupt(), 130), (SIGTERMException(), 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_run_says_so_and_ends_as_a_shell_expects(
    error: BaseException, exit_code: int, directory: Path
) -> None:
    with pytest.raises(SystemExit) as caught, Run(directory, CONFIG):
        raise error
    assert caught.value.code == exit_code
    assert result(directory)["status"] == "interrupted"
    assert "resume=" not in (directory / "train.log").read_text()


def test_an_interrupted_run_with_a_checkpoint_says_how_to_go_on(directory: Path) -> None:
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(SystemExit), Run(directory, CONFIG):
        raise KeyboardInterrupt
    assert (directory / "train.log").read_text().endswith(f"to go on: python train.py resume={directory}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_does_not_have_are_null(value: float, directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5, "metrics": {"best": {}, "final": {"val/loss": value}}})
    told = result(directory)
    assert (told["status"], told["score"], told["metrics"]["final"]) == ("finished", 0.5, {"val/loss": None})


def test_a_result_that_json_cannot_hold_is_an_error_and_no_file(directory: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"), Run(directory, CONFIG) as run:
        run.finish({"score": object()})
    told = result(directory)
    assert told["status"] == "failed"
    assert told["error"].startswith("TypeError: ")
    assert "score" not in told


# Going on.


def test_only_a_resumed_run_has_a_checkpoint_to_go_on_from(directory: Path) -> None:
    with Run(resumable(directory), CONFIG, resume=True) as resumed:
        assert resumed.checkpoint == directory / "checkpoints" / "last.ckpt"
    with Run(directory.with_name("new"), CONFIG) as new:
        assert new.checkpoint is None


def test_a_resumed_run_stays_in_its_directory_and_adds_its_command(directory: Path) -> None:
    resumable(directory)
    with Run(directory, CONFIG | {"trainer": {"max_epochs": 5}}, resume=True) as run:
        assert not (directory / "result.json").exists(), "the earlier result does not hold any more"
        assert run.checkpoint is not None
        assert checkpoint_io.load_checkpoint(run.checkpoint) == CHECKPOINT
        assert len((directory / "command.txt").read_text().splitlines()) == 2
        assert yaml.safe_load((directory / "config.yaml").read_text())["trainer"] == {"max_epochs": 5}
        run.finish({"score": 0.75})
    assert result(directory)["score"] == 0.75


def test_a_run_does_not_go_on_under_another_configuration(directory: Path) -> None:
    resumable(directory)
    before = (directory / "config.yaml").read_text()
    with pytest.raises(RunError) as caught, Run(directory, CONFIG | {"seed": 5}, resume=True):
        pytest.fail("it must not run")
    assert str(caught.value) == (
        f"resume={directory}: seed: 0 -> 5: a run goes on as it began; only trainer, callbacks, logger may change"
    )
    assert (directory / "config.yaml").read_text() == before
    assert (directory / "result.json").exists()


def test_the_log_of_a_resumed_run_goes_on(directory: Path) -> None:
    with Run(directory, CONFIG):
        logging.getLogger("dive").info("first")
        checkpoint_io.save_checkpoint(CHECKPOINT, directory / "checkpoints" / "last.ckpt")
    with Run(directory, CONFIG, resume=True):
        logging.getLogger("dive").info("second")
    assert [line.split()[-1] for line in (directory / "train.log").read_text().splitlines()] == ["first", "second"]


def test_a_run_without_a_checkpoint_cannot_be_resumed_and_keeps_its_result(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5})
    before = files(directory)
    with pytest.raises(RunError) as caught, Run(directory, CONFIG, resume=True):
        pytest.fail("it must not run")
    last, best = (directory / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    missing = f"{last} does not exist; {best} does not exist"
    assert str(caught.value) == f"resume={directory}: nothing to go on from: {missing}"
    assert files(directory) == before


def test_resuming_makes_no_directory(directory: Path) -> None:
    with pytest.raises(RunError, match="nothing to go on from"), Run(directory, CONFIG, resume=True):
        pytest.fail("it must not run")
    assert not directory.exists()


def test_processes_of_other_ranks_write_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5})
    before = files(directory)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with Run(directory, CONFIG | {"seed": 1}) as run:
        logging.getLogger("dive").error("said by the other rank too")
        run.finish({"score": 0.25})
    with pytest.raises(ValueError, match="boom"), Run(directory, CONFIG):
        raise ValueError("boom")
    assert files(directory) == before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it in /proc")
def test_peak_memory_counts_what_was_held_and_not_what_another_process_held() -> None:
    held = "x = bytearray(1_500_000_000); x[::4096] = b'x' * len(x[::4096]); del x;"
    tell = "from dive.runs.run import peak_memory_mb; print(peak_memory_mb()['cpu'])"
    child = f"{held} import subprocess, sys; subprocess.run([sys.executable, '-c', {tell!r}], check=True)"
    mine, childs = (
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for code in (f"{held} {tell}", child)
    )
    assert mine > 1500 > 1.2 * childs


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_millions_of_bytes(platform: str, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STATUS", Path("nowhere"))
    monkeypatch.setattr(module.sys, "platform", platform)
    monkeypatch.setattr(module.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3 * 10**6))
    assert peak_memory_mb()["cpu"] == 3 * unit


def test_peak_memory_names_the_processor_and_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module.torch.cuda, "max_memory_allocated", lambda i: (i + 1) * 10**6)
    peak = peak_memory_mb()
    assert peak.keys() == {"cpu", "cuda:0", "cuda:1"}
    assert (peak["cuda:0"], peak["cuda:1"]) == (1.0, 2.0)


# What else may be there.


def test_two_cannot_go_on_with_the_same_run_at_once(directory: Path) -> None:
    with Run(resumable(directory), CONFIG, resume=True):
        before = files(directory)
        with pytest.raises(RunError) as caught, Run(directory, CONFIG, resume=True):
            pytest.fail("it must not run")
        assert str(caught.value) == f"{directory}: a run is under way in it"
        assert files(directory) == before
    with Run(directory, CONFIG, resume=True):
        pass


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_and_said_so(directory: Path) -> None:
    folder = resumable(directory) / "checkpoints"
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    checkpoint_io.save_checkpoint(CHECKPOINT, best)
    last.write_bytes(last.read_bytes()[:100])
    with Run(directory, CONFIG, resume=True) as run:
        assert run.checkpoint == best
    told = (directory / "train.log").read_text()
    assert f"WARNING dive.runs.run: {last} is damaged" in told
    assert f"; going on from {best}" in told


def test_where_all_checkpoints_are_damaged_nothing_starts_anew(directory: Path) -> None:
    last = resumable(directory) / "checkpoints" / "last.ckpt"
    last.write_bytes(b"")
    before = files(directory)
    with pytest.raises(RunError) as caught, Run(directory, CONFIG, resume=True):
        pytest.fail("it must not run")
    assert str(caught.value).startswith(f"resume={directory}: nothing to go on from: {last} is damaged: ")
    assert files(directory) == before


def test_a_checkpoint_that_is_refused_is_not_passed_over(directory: Path) -> None:
    folder = resumable(directory) / "checkpoints"
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    checkpoint_io.save_checkpoint(CHECKPOINT, best)
    checkpoint_io.save_checkpoint({**CHECKPOINT, "hyper_parameters": {"_instantiator": "os.system"}}, last)
    with pytest.raises(RunError, match="names code to be called"), Run(directory, CONFIG, resume=True):
        pytest.fail("it must not run")


def test_what_a_killed_process_left_half_written_is_gone_when_the_run_goes_on(directory: Path) -> None:
    for folder in (resumable(directory), directory / "checkpoints"):
        (folder / ".last.ckpt.123-456.part").touch()
    with Run(directory, CONFIG, resume=True):
        assert not list(directory.rglob("*.part"))


def test_a_result_that_cannot_be_written_does_not_hide_what_went_wrong(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    def break_off() -> None:
        with Run(directory, CONFIG):
            monkeypatch.setattr(module, "put", full)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        break_off()
    assert "no result: No space left on device" in (directory / "train.log").read_text()
