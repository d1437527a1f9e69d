"""The run directory: locked by one process, metadata written first, the result last."""

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
METADATA = {".lock", "config.yaml", "command.txt", "environment.json", "code.diff", "train.log"}


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Restore the loggers that a run redirects to its own file."""
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
    """A run directory that does not exist yet."""
    return tmp_path / "outputs" / "run"


def reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")


def result(directory: Path) -> dict[str, Any]:
    """Load ``result.json``, which must be strictly valid JSON."""
    return json.loads((directory / "result.json").read_text(), parse_constant=reject_constant)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def resumable(directory: Path) -> Path:
    """A finished run with a checkpoint."""
    with Run(directory, CONFIG) as run:
        checkpoint_io.save_checkpoint(CHECKPOINT, directory / "checkpoints" / "last.ckpt")
        run.finish({"score": 0.5})
    return directory


# Locking.


def test_run_creates_its_directory(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        assert run.directory == directory
        assert directory.is_dir()


def test_directory_with_only_hydra_files_is_accepted(directory: Path) -> None:
    (directory / ".hydra").mkdir(parents=True)
    with Run(directory, CONFIG):
        assert files(directory).keys() == METADATA


def test_second_run_in_a_directory_is_rejected_and_changes_nothing(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5})
    before = files(directory)
    with pytest.raises(RunError) as caught, Run(directory, CONFIG | {"seed": 1}):
        pytest.fail("the run must not start")
    assert str(caught.value) == (
        f"{directory} already contains a run; choose another hydra.run.dir, or resume it: resume={directory}"
    )
    assert files(directory) == before


def test_directory_of_an_active_run_is_rejected(directory: Path) -> None:
    with (
        Run(directory, CONFIG),
        pytest.raises(RunError, match="another process is running in this directory"),
        Run(directory, CONFIG),
    ):
        pytest.fail("the run must not start")


def test_one_of_eight_concurrent_runs_gets_the_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Loggers belong to the process, not to a thread.
    monkeypatch.setattr(module, "add_file_handler", lambda *_, **__: None)
    for attempt in range(5):
        target = directory.with_name(f"run{attempt}")
        barrier = threading.Barrier(8)

        def start(seed: int, target: Path = target, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            try:
                with Run(target, CONFIG | {"seed": seed}) as run:
                    run.finish({"score": seed})
            except RunError:
                return None
            return seed

        with ThreadPoolExecutor(8) as pool:
            winners = [seed for seed in pool.map(start, range(8)) if seed is not None]
        assert len(winners) == 1
        assert yaml.safe_load((target / "config.yaml").read_text())["seed"] == winners[0]
        assert result(target)["score"] == winners[0]
        assert len((target / "command.txt").read_text().splitlines()) == 1


def test_file_at_the_path_of_the_directory_is_named(directory: Path) -> None:
    directory.parent.mkdir()
    directory.write_text("a file")
    with pytest.raises(FileExistsError) as caught, Run(directory, CONFIG):
        pytest.fail("the run must not start")
    assert caught.value.filename == str(directory)


# Files.


def test_metadata_is_written_on_entry(directory: Path) -> None:
    with Run(directory, CONFIG):
        assert files(directory).keys() == METADATA
        assert yaml.safe_load((directory / "config.yaml").read_text()) == CONFIG
        assert (directory / "command.txt").read_text() == provenance.command() + "\n"
        assert json.loads((directory / "environment.json").read_text()) == provenance.environment()
        assert not (directory / "result.json").exists()


def test_config_yaml_keeps_the_order_of_keys(directory: Path) -> None:
    with Run(directory, CONFIG):
        assert list(yaml.safe_load((directory / "config.yaml").read_text())) == list(CONFIG)


def test_code_diff_is_recorded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "code_diff", lambda: "-old\n+new\n")
    with Run(directory, CONFIG):
        assert (directory / "code.diff").read_text() == "-old\n+new\n"


def test_log_messages_have_time_and_logger_name(directory: Path) -> None:
    with Run(directory, CONFIG):
        logging.getLogger("dive.some.module").info("an epoch")
        logging.getLogger("another.library").error("not ours")
    (line,) = (directory / "train.log").read_text().splitlines()
    assert line.endswith("INFO dive.some.module: an epoch")
    assert line[:2] == "20"


def test_result_is_written_last(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        (directory / "metrics.csv").write_text("step\n")
        assert not (directory / "result.json").exists()
        run.finish({"score": 0.875, "metrics": {"best": {"val/acc": 0.875}}})
    loaded = result(directory)
    assert loaded["status"] == "finished"
    assert loaded["score"] == 0.875
    assert loaded["metrics"] == {"best": {"val/acc": 0.875}}
    assert 0 <= loaded["seconds"] < 60
    assert loaded["peak_memory_mb"]["cpu"] > 10
    assert "error" not in loaded
    others = [
        path.stat().st_mtime_ns for path in directory.iterdir() if path.name not in ("result.json", "train.log")
    ]
    assert (directory / "result.json").stat().st_mtime_ns >= max(others)


def test_no_temporary_files_are_left(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({})
    assert files(directory).keys() == METADATA | {"result.json"}


def test_run_without_finish_has_no_result(directory: Path) -> None:
    with Run(directory, CONFIG):
        pass
    assert not (directory / "result.json").exists()


def test_failed_run_records_and_raises_the_error(directory: Path) -> None:
    with pytest.raises(ValueError, match="boom"), Run(directory, CONFIG):
        raise ValueError("boom")
    loaded = result(directory)
    assert (loaded["status"], loaded["error"]) == ("failed", "ValueError: boom")
    assert loaded["seconds"] >= 0
    assert "score" not in loaded


@pytest.mark.parametrize(
    ("error", "exit_code"), [(KeyboardInterrupt(), 130), (SIGTERMException(), 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_interrupted_run_records_it_and_exits_with_the_shell_status(
    error: BaseException, exit_code: int, directory: Path
) -> None:
    with pytest.raises(SystemExit) as caught, Run(directory, CONFIG):
        raise error
    assert caught.value.code == exit_code
    assert result(directory)["status"] == "interrupted"
    assert "resume=" not in (directory / "train.log").read_text()


def test_interrupted_run_with_a_checkpoint_says_how_to_resume(directory: Path) -> None:
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(SystemExit), Run(directory, CONFIG):
        raise KeyboardInterrupt
    assert (directory / "train.log").read_text().endswith(f"to resume: python train.py resume={directory}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_lacks_are_null(value: float, directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5, "metrics": {"best": {}, "final": {"val/loss": value}}})
    loaded = result(directory)
    assert (loaded["status"], loaded["score"], loaded["metrics"]["final"]) == ("finished", 0.5, {"val/loss": None})


def test_result_that_json_cannot_hold_is_an_error(directory: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"), Run(directory, CONFIG) as run:
        run.finish({"score": object()})
    loaded = result(directory)
    assert loaded["status"] == "failed"
    assert loaded["error"].startswith("TypeError: ")
    assert "score" not in loaded


# Resuming.


def test_only_a_resumed_run_has_a_checkpoint(directory: Path) -> None:
    with Run(resumable(directory), CONFIG, resume=True) as resumed:
        assert resumed.checkpoint == directory / "checkpoints" / "last.ckpt"
    with Run(directory.with_name("new"), CONFIG) as new:
        assert new.checkpoint is None


def test_resumed_run_stays_in_its_directory_and_appends_its_command(directory: Path) -> None:
    resumable(directory)
    with Run(directory, CONFIG | {"trainer": {"max_epochs": 5}}, resume=True) as run:
        assert not (directory / "result.json").exists(), "the earlier result is removed"
        assert run.checkpoint is not None
        assert checkpoint_io.load_checkpoint(run.checkpoint) == CHECKPOINT
        assert len((directory / "command.txt").read_text().splitlines()) == 2
        assert yaml.safe_load((directory / "config.yaml").read_text())["trainer"] == {"max_epochs": 5}
        run.finish({"score": 0.75})
    assert result(directory)["score"] == 0.75


def test_resume_with_another_configuration_is_rejected(directory: Path) -> None:
    resumable(directory)
    before = (directory / "config.yaml").read_text()
    with pytest.raises(RunError) as caught, Run(directory, CONFIG | {"seed": 5}, resume=True):
        pytest.fail("the run must not start")
    assert str(caught.value) == (
        f"resume={directory}: seed: 0 -> 5: cannot be changed on resume; only trainer, callbacks, logger can"
    )
    assert (directory / "config.yaml").read_text() == before
    assert (directory / "result.json").exists()


def test_log_of_a_resumed_run_is_appended(directory: Path) -> None:
    with Run(directory, CONFIG):
        logging.getLogger("dive").info("first")
        checkpoint_io.save_checkpoint(CHECKPOINT, directory / "checkpoints" / "last.ckpt")
    with Run(directory, CONFIG, resume=True):
        logging.getLogger("dive").info("second")
    assert [line.split()[-1] for line in (directory / "train.log").read_text().splitlines()] == ["first", "second"]


def test_run_without_a_checkpoint_cannot_be_resumed_and_keeps_its_result(directory: Path) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5})
    before = files(directory)
    with pytest.raises(RunError) as caught, Run(directory, CONFIG, resume=True):
        pytest.fail("the run must not start")
    last, best = (directory / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    missing = f"{last} does not exist; {best} does not exist"
    assert str(caught.value) == f"resume={directory}: no checkpoint to resume from: {missing}"
    assert files(directory) == before


def test_resuming_creates_no_directory(directory: Path) -> None:
    with pytest.raises(RunError, match="no checkpoint to resume from"), Run(directory, CONFIG, resume=True):
        pytest.fail("the run must not start")
    assert not directory.exists()


def test_other_ranks_write_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(directory, CONFIG) as run:
        run.finish({"score": 0.5})
    before = files(directory)
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    with Run(directory, CONFIG | {"seed": 1}) as run:
        logging.getLogger("dive").error("from rank 1")
        run.finish({"score": 0.25})
    with pytest.raises(ValueError, match="boom"), Run(directory, CONFIG):
        raise ValueError("boom")
    assert files(directory) == before


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_peak_memory_excludes_other_processes() -> None:
    allocate = "x = bytearray(1_500_000_000); x[::4096] = b'x' * len(x[::4096]); del x;"
    measure = "from dive.runs.run import peak_memory_mb; print(peak_memory_mb()['cpu'])"
    spawn = f"{allocate} import subprocess, sys; subprocess.run([sys.executable, '-c', {measure!r}], check=True)"
    own, of_child = (
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for code in (f"{allocate} {measure}", spawn)
    )
    assert own > 1500 > 1.2 * of_child


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_peak_memory_is_in_megabytes(platform: str, unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROC_STATUS", Path("nowhere"))
    monkeypatch.setattr(module.sys, "platform", platform)
    monkeypatch.setattr(module.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=3 * 10**6))
    assert peak_memory_mb()["cpu"] == 3 * unit


def test_peak_memory_includes_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(module.torch.cuda, "max_memory_allocated", lambda i: (i + 1) * 10**6)
    peak = peak_memory_mb()
    assert peak.keys() == {"cpu", "cuda:0", "cuda:1"}
    assert (peak["cuda:0"], peak["cuda:1"]) == (1.0, 2.0)


# Unusual directory contents.


def test_run_cannot_be_resumed_twice_at_once(directory: Path) -> None:
    with Run(resumable(directory), CONFIG, resume=True):
        before = files(directory)
        with pytest.raises(RunError) as caught, Run(directory, CONFIG, resume=True):
            pytest.fail("the run must not start")
        assert str(caught.value) == f"{directory}: another process is running in this directory"
        assert files(directory) == before
    with Run(directory, CONFIG, resume=True):
        pass


def test_corrupt_checkpoint_is_skipped_with_a_warning(directory: Path) -> None:
    folder = resumable(directory) / "checkpoints"
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    checkpoint_io.save_checkpoint(CHECKPOINT, best)
    last.write_bytes(last.read_bytes()[:100])
    with Run(directory, CONFIG, resume=True) as run:
        assert run.checkpoint == best
    log = (directory / "train.log").read_text()
    assert f"WARNING dive.runs.run: {last} is corrupt" in log
    assert f"; resuming from {best}" in log


def test_run_with_only_corrupt_checkpoints_does_not_restart(directory: Path) -> None:
    last = resumable(directory) / "checkpoints" / "last.ckpt"
    last.write_bytes(b"")
    before = files(directory)
    with pytest.raises(RunError) as caught, Run(directory, CONFIG, resume=True):
        pytest.fail("the run must not start")
    assert str(caught.value).startswith(f"resume={directory}: no checkpoint to resume from: {last} is corrupt: ")
    assert files(directory) == before


def test_rejected_checkpoint_is_not_skipped(directory: Path) -> None:
    folder = resumable(directory) / "checkpoints"
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    checkpoint_io.save_checkpoint(CHECKPOINT, best)
    checkpoint_io.save_checkpoint({**CHECKPOINT, "hyper_parameters": {"_instantiator": "os.system"}}, last)
    with pytest.raises(RunError, match="names code to call"), Run(directory, CONFIG, resume=True):
        pytest.fail("the run must not start")


def test_temporary_files_of_a_killed_process_are_removed_on_resume(directory: Path) -> None:
    for folder in (resumable(directory), directory / "checkpoints"):
        (folder / ".last.ckpt.123-456.part").touch()
    with Run(directory, CONFIG, resume=True):
        assert not list(directory.rglob("*.part"))


def test_failed_write_of_the_result_does_not_hide_the_original_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    def fail() -> None:
        with Run(directory, CONFIG):
            monkeypatch.setattr(module, "atomic_write", full)
            raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        fail()
    assert "result.json cannot be written: No space left on device" in (directory / "train.log").read_text()
