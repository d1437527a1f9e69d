"""Checkpoints on full disks, in read-only directories, under kill -9, corrupt and hostile."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from dive.config.compose import compose_resolved
from dive.errors import RunError
from dive.runs import checkpoint_io

ROOT = Path(__file__).parents[2]
Differences = Callable[[Path, Path], list[str]]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users need root")


def in_namespace(script: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script in its own mount namespace."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env=os.environ | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip the test where a container forbids mounts."""
    folder = tmp_path_factory.mktemp("mount")
    attempt = in_namespace("mount -t tmpfs -o size=64k tmpfs $FOLDER", FOLDER=folder)
    if attempt.returncode:
        pytest.skip(f"mounts are not allowed: {attempt.stderr.strip()}")


@as_root
@pytest.mark.fault(1, "disk full during a save", "tmpfs of 2200 kB over checkpoints/: room for two, not for three")
def test_full_disk_keeps_the_previous_checkpoints(
    can_mount: None, tmp_path: Path, outcome: Callable[[str], None]
) -> None:
    run, saved = tmp_path / "run", tmp_path / "saved"
    (run / "checkpoints").mkdir(parents=True)
    done = in_namespace(
        'mount -t tmpfs -o size=2200k tmpfs "$RUN/checkpoints"; "$PYTHON" "$TRAIN" model=mlp data=garments '
        "data.num_train=512 data.num_test=64 data.val_size=64 data.batch_size=64 trainer=cpu "
        "callbacks.last.min_interval_s=0 "
        '"hydra.run.dir=$RUN"; status=$?; cp -r "$RUN/checkpoints" "$SAVED"; exit $status',
        RUN=run,
        SAVED=saved,
        PYTHON=sys.executable,
        TRAIN=ROOT / "train.py",
    )
    assert done.returncode == 1, done.stderr
    last = run / "checkpoints" / "last.ckpt"
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith(f"error: {run / 'checkpoints'}")
    assert "cannot be saved: No space left on device; the previous checkpoint is unchanged" in message
    assert sorted(path.name for path in saved.iterdir()) == ["best.ckpt", "last.ckpt"]
    for path in saved.iterdir():
        assert checkpoint_io.load_checkpoint(path)["global_step"] > 0
    outcome(f"exit status 1: `{message.replace(str(last.parent), '.../checkpoints')}`; both checkpoints load")


@as_root
@pytest.mark.fault(
    24,
    "disk full while logging",
    "tmpfs of 1 MB over the run's directory, filled after two epochs are in metrics.csv",
)
def test_disk_that_fills_up_ends_the_run(can_mount: None, tmp_path: Path, outcome: Callable[[str], None]) -> None:
    run, saved = tmp_path / "run", tmp_path / "saved"
    run.mkdir()
    done = in_namespace(
        'mount -t tmpfs -o size=1m tmpfs "$RUN"; '
        '(until [ "$(wc -l <"$RUN/metrics.csv")" -ge 3 ]; do sleep 0.05; done; '
        'cat /dev/zero >"$RUN/fill") 2>&- & '
        '"$PYTHON" "$TRAIN" model=softmax_regression data=garments data.num_train=512 data.num_test=64 '
        "data.val_size=64 trainer=cpu trainer.max_epochs=10000 callbacks.best=null callbacks.last=null "
        '"hydra.run.dir=$RUN"; status=$?; cp "$RUN"/metrics.csv "$RUN"/events* "$SAVED"; exit $status',
        RUN=run,
        SAVED=tmp_path,
        PYTHON=sys.executable,
        TRAIN=ROOT / "train.py",
    )
    assert done.returncode == 1, done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message in [  # the file that is written first
        f"error: {path}: No space left on device" for path in (run / "metrics.csv", run)
    ]
    table = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(table) >= 3
    assert len({line.count(",") for line in table}) == 1, "no line is truncated"
    outcome(
        "exit status 1: `error: .../metrics.csv` or `error: ...: No space left on device`; metrics.csv is complete"
    )
    assert not saved.exists()


@pytest.fixture
def world_writable() -> Iterator[Path]:
    """A folder that every user can access, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.fault(4, "read-only checkpoint directory", "mode 0555, as user nobody")
def test_read_only_checkpoint_directory_is_named(
    world_writable: Path, train_in_subprocess: Any, outcome: Callable[[str], None]
) -> None:
    directory = world_writable / "run"
    (directory / "checkpoints").mkdir(parents=True)
    (directory / "checkpoints").chmod(0o555)
    directory.chmod(0o777)
    run = train_in_subprocess("logger.tensorboard=null", directory=directory, do=become_nobody)
    checkpoint = directory / "checkpoints" / "best.ckpt"
    assert run.result.get("status") == "failed", run.output
    assert run.exit == "exited with status 1"
    assert run.result["error"] == f"{checkpoint}: cannot be saved: Permission denied"
    outcome(f"exit status 1: `{run.result['error'].replace(str(directory), '...')}`")


def become_nobody() -> None:
    """Drop root privileges when training starts; files of root must be readable before."""
    from matplotlib import figure  # noqa: F401  # would be imported later, when it is no longer readable

    from dive.callbacks import LastCheckpoint

    start = LastCheckpoint.on_train_start

    def on_train_start(*args: Any) -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        start(*args)

    LastCheckpoint.on_train_start = on_train_start  # type: ignore[method-assign]


@pytest.mark.fault(3, "kill -9 during a save", "a process that saves continuously, killed at 25 random moments")
def test_checkpoint_can_be_loaded_after_every_kill(
    train_in_subprocess: Any, send_signal: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    uninterrupted = train_in_subprocess()
    interrupted = train_in_subprocess(do=send_signal(signal.SIGTERM, "train", 17))
    path = interrupted.directory / "checkpoints" / "last.ckpt"
    checkpoint, generator = checkpoint_io.load_checkpoint(path), random.Random(0)
    interrupted_saves = 0
    for _ in range(25):
        writer = get_context("fork").Process(target=save_continuously, args=(checkpoint, path))
        writer.start()
        time.sleep(0.02 + 0.03 * generator.random())
        writer.kill()
        writer.join()
        interrupted_saves += len(list(path.parent.glob(".*.part")))
        assert checkpoint_io.load_checkpoint(path)["global_step"] == 17
    assert interrupted_saves > 5, "most kills must interrupt a save"
    resumed = train_in_subprocess(f"resume={interrupted.directory}", directory=interrupted.directory)
    assert resumed.result["status"] == "finished", resumed.output
    assert not list(path.parent.glob(".*")), "temporary files are removed"
    assert differences(uninterrupted.directory, interrupted.directory) == []
    outcome("the checkpoint loads after each kill; the resumed run is bit-identical to an uninterrupted one")


def save_continuously(checkpoint: dict[str, Any], path: Path) -> None:
    while True:
        checkpoint_io.save_checkpoint(checkpoint, path)


class Payload:
    """Runs a command when it is unpickled unsafely."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.canary}",))


def pickled(checkpoint: dict[str, Any], canary: Path) -> dict[str, Any]:
    return checkpoint | {"callbacks": {"Last": Payload(canary)}}


def naming(key: str, checkpoint: dict[str, Any], canary: Path) -> dict[str, Any]:
    # load_from_checkpoint would import and call it.
    return checkpoint | {"hyper_parameters": {key: "os.system", "command": f"touch {canary}"}}


@pytest.mark.fault(
    5,
    "hostile checkpoint",
    "last.ckpt replaced by a pickle that calls os.system, or by a checkpoint that names code to call",
)
@pytest.mark.parametrize(
    "attack",
    [pickled, partial(naming, "_instantiator"), partial(naming, "_class_path")],
    ids=["pickle", "instantiator", "class_path"],
)
def test_hostile_checkpoint_is_rejected(
    attack: Callable[..., dict[str, Any]],
    tmp_path: Path,
    train_in_subprocess: Any,
    send_signal: Any,
    outcome: Callable[[str], None],
) -> None:
    interrupted = train_in_subprocess(do=send_signal(signal.SIGTERM, "train", 17))
    path, canary = interrupted.directory / "checkpoints" / "last.ckpt", tmp_path / "canary"
    torch.save(attack(checkpoint_io.load_checkpoint(path), canary), path)
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"is rejected: .*it (names code to call|references posix.system)"):
        checkpoint_io.load_checkpoint(path)
    run = train_in_subprocess(f"resume={interrupted.directory}", directory=interrupted.directory)
    message = run.output.strip().splitlines()[-1]
    assert run.exit == "exited with status 1"
    assert f"{path} is rejected" in message
    assert not canary.exists()
    assert path.read_bytes() == before
    assert run.result == interrupted.result, "training does not restart"
    outcome(f"exit status 1: `{message.replace(str(path), '.../last.ckpt')}`; nothing was called")


REGRESSION_DATA = "dive.data.SyntheticRegression"
TINY = ("data.num_train=64", "data.val_size=32", "data.num_test=32", "data=garments")
MODELS = {
    f"model={path.stem}": ()
    if compose_resolved(f"model={path.stem}")["data"]["_target_"] == REGRESSION_DATA
    else TINY
    for path in sorted((ROOT / "conf" / "model").glob("*.yaml"))
}
LOAD_WITHOUT_HYDRA = """
import sys
sys.modules.update(hydra=None, omegaconf=None, dive=None, pytorch_lightning=None)
import torch
for path in sys.argv[1:]:
    assert torch.load(path, weights_only=True)["state_dict"]
"""


@pytest.mark.fault(7, "Hydra, Lightning and dive cannot be imported", "sys.modules; torch.load(weights_only=True)")
def test_checkpoints_load_with_torch_alone(train: Callable[..., Any], outcome: Callable[[str], None]) -> None:
    extras = ("trainer.max_epochs=2", "trainer=cpu", "scheduler=step", "callbacks=early_stopping")
    paths = [
        str(path)
        for model, sizes in MODELS.items()
        for path in (train(model, *sizes, *extras).directory / "checkpoints").iterdir()
    ]
    assert len(paths) == 2 * len(MODELS)
    subprocess.run([sys.executable, "-c", LOAD_WITHOUT_HYDRA, *paths], check=True, timeout=120)
    outcome(f"best.ckpt and last.ckpt of all {len(MODELS)} models load")


def truncated(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def zeroed(content: bytes) -> bytes:
    return content[:1000] + bytes(len(content) - 1000)


def flipped(content: bytes) -> bytes:
    # In the first weights; torch.load would not notice.
    at = content.index(b"archive/data/0") + 200
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.fault(
    12, "corrupt last.ckpt", "truncated at two thirds; zeros from byte 1000 on; one flipped bit of the weights"
)
@pytest.mark.parametrize("corrupt", [truncated, zeroed, flipped])
def test_corrupt_checkpoint_is_reported_and_skipped(
    corrupt: Callable[[bytes], bytes],
    train_in_subprocess: Any,
    send_signal: Any,
    differences: Differences,
    outcome: Callable[[str], None],
) -> None:
    uninterrupted = train_in_subprocess()
    interrupted = train_in_subprocess(do=send_signal(signal.SIGTERM, "train", 17))
    last, best = (interrupted.directory / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    last.write_bytes(corrupt(last.read_bytes()))
    resumed = train_in_subprocess(f"resume={interrupted.directory}", directory=interrupted.directory)
    assert resumed.result["status"] == "finished", resumed.output
    assert f"{last} is corrupt: " in resumed.output
    assert f"; resuming from {best}" in resumed.output
    assert differences(uninterrupted.directory, interrupted.directory) == []
    for path in (last, best):
        path.write_bytes(corrupt(path.read_bytes()))
    refused = train_in_subprocess(f"resume={interrupted.directory}", directory=interrupted.directory)
    assert refused.exit == "exited with status 1"
    assert "no checkpoint to resume from" in refused.output
    assert refused.result == resumed.result, "training does not restart"
    outcome(
        "warning; resumes from best.ckpt, bit-identical to an uninterrupted run. With best.ckpt corrupt as well: "
        "exit status 1, training does not restart"
    )
