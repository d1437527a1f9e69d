"""Checkpoints on full disks, in forbidden folders, under kill -9, damaged and hostile: what was saved stays."""

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

from dive.errors import RunError
from dive.runs import checkpoint_io

ROOT = Path(__file__).parents[2]
Differences = Callable[[Path, Path], list[str]]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users want root")


def in_namespace(script: str, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script that may mount what nobody else sees."""
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env=os.environ | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where a container forbids it."""
    folder = tmp_path_factory.mktemp("mount")
    tried = in_namespace("mount -t tmpfs -o size=64k tmpfs $FOLDER", FOLDER=folder)
    if tried.returncode:
        pytest.skip(f"no mounts here: {tried.stderr.strip()}")


@as_root
@pytest.mark.fault(1, "disk full during a save", "tmpfs of 2200 kB over checkpoints/: room for two, not for three")
def test_a_full_disk_costs_the_new_checkpoint_alone(
    can_mount: None, tmp_path: Path, outcome: Callable[[str], None]
) -> None:
    run, kept = tmp_path / "run", tmp_path / "kept"
    (run / "checkpoints").mkdir(parents=True)
    done = in_namespace(
        'mount -t tmpfs -o size=2200k tmpfs "$RUN/checkpoints"; "$PYTHON" "$TRAIN" model=mlp data=garments '
        "data.num_train=512 data.num_test=64 data.val_size=64 data.batch_size=64 trainer=cpu "
        "callbacks.last.min_interval_s=0 "
        '"hydra.run.dir=$RUN"; status=$?; cp -r "$RUN/checkpoints" "$KEPT"; exit $status',
        RUN=run,
        KEPT=kept,
        PYTHON=sys.executable,
        TRAIN=ROOT / "train.py",
    )
    assert done.returncode == 1, done.stderr
    last = run / "checkpoints" / "last.ckpt"
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith(f"error: {run / 'checkpoints'}")
    assert "cannot be saved: No space left on device; the one before is as it was" in message
    assert sorted(path.name for path in kept.iterdir()) == ["best.ckpt", "last.ckpt"]
    for path in kept.iterdir():
        assert checkpoint_io.load_checkpoint(path)["global_step"] > 0
    outcome(f"exit status 1: `{message.replace(str(last.parent), '.../checkpoints')}`; both checkpoints load")


@as_root
@pytest.mark.fault(
    24,
    "disk full while logging",
    "tmpfs of 1 MB over the run's directory, filled when two epochs are in its table",
)
def test_a_disk_that_fills_up_ends_the_run(
    can_mount: None, tmp_path: Path, outcome: Callable[[str], None]
) -> None:
    run, kept = tmp_path / "run", tmp_path / "kept"
    run.mkdir()
    done = in_namespace(
        'mount -t tmpfs -o size=1m tmpfs "$RUN"; '
        '(until [ "$(wc -l <"$RUN/metrics.csv")" -ge 3 ]; do sleep 0.05; done; '
        'cat /dev/zero >"$RUN/fill") 2>&- & '
        '"$PYTHON" "$TRAIN" model=softmax_regression data=garments data.num_train=512 data.num_test=64 '
        "data.val_size=64 trainer=cpu trainer.max_epochs=10000 callbacks.best=null callbacks.last=null "
        '"hydra.run.dir=$RUN"; status=$?; cp "$RUN"/metrics.csv "$RUN"/events* "$KEPT"; exit $status',
        RUN=run,
        KEPT=tmp_path,
        PYTHON=sys.executable,
        TRAIN=ROOT / "train.py",
    )
    assert done.returncode == 1, done.stderr
    message = done.stderr.strip().splitlines()[-1]
    assert message in [  # whichever is written first
        f"error: {path}: No space left on device" for path in (run / "metrics.csv", run)
    ]
    table = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(table) >= 3
    assert len({line.count(",") for line in table}) == 1, "no line of it is half a line"
    outcome("exit status 1: `error: .../metrics.csv` or `error: ...: No space left on device`; the table is whole")
    assert not kept.exists()


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that every user can reach, as those of pytest's cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@pytest.mark.fault(4, "checkpoint folder that cannot be written", "mode 0555, as user nobody")
def test_a_forbidden_folder_is_named(anybodys: Path, train_apart: Any, outcome: Callable[[str], None]) -> None:
    run = anybodys / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints").chmod(0o555)
    run.chmod(0o777)
    left = train_apart("logger.tensorboard=null", directory=run, do=become_nobody)
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert left.result.get("status") == "failed", left.said
    assert left.ended == "left with exit status 1"
    assert left.result["error"] == f"{checkpoint}: cannot be saved: Permission denied"
    outcome(f"exit status 1: `{left.result['error'].replace(str(run), '...')}`")


def become_nobody() -> None:
    """Give up root, where this is root, when training starts: before, files of root's are to be read."""
    from matplotlib import figure  # noqa: F401  # it is imported later, when nobody may not read it

    from dive.callbacks import LastCheckpoint

    start = LastCheckpoint.on_train_start

    def on_train_start(*args: Any) -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        start(*args)

    LastCheckpoint.on_train_start = on_train_start  # type: ignore[method-assign]


@pytest.mark.fault(3, "kill -9 during a save", "a process that saves without pause, killed at 50 random moments")
def test_a_checkpoint_can_always_be_loaded(
    train_apart: Any, signalled: Any, differences: Differences, outcome: Callable[[str], None]
) -> None:
    straight = train_apart()
    stopped = train_apart(do=signalled(signal.SIGTERM, "train", 17))
    path = stopped.directory / "checkpoints" / "last.ckpt"
    checkpoint, moment = checkpoint_io.load_checkpoint(path), random.Random(0)
    cut_short = 0
    for _ in range(50):
        writer = get_context("fork").Process(target=save_again_and_again, args=(checkpoint, path))
        writer.start()
        time.sleep(0.02 + 0.03 * moment.random())
        writer.kill()
        writer.join()
        cut_short += len(list(path.parent.glob(".*.part")))
        assert checkpoint_io.load_checkpoint(path)["global_step"] == 17
    assert cut_short > 10, "most kills must have come in the middle of a save"
    resumed = train_apart(f"resume={stopped.directory}", directory=stopped.directory)
    assert resumed.result["status"] == "finished", resumed.said
    assert not list(path.parent.glob(".*")), "what was half-written is cleared away"
    assert differences(straight.directory, stopped.directory) == []
    outcome(
        "after each kill the checkpoint loads; the run goes on from it and ends bit for bit like one never killed"
    )


def save_again_and_again(checkpoint: dict[str, Any], path: Path) -> None:
    while True:
        checkpoint_io.save_checkpoint(checkpoint, path)


class Payload:
    """What a hostile pickle does when it is loaded."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.canary}",))


def pickled(checkpoint: dict[str, Any], canary: Path) -> dict[str, Any]:
    return checkpoint | {"callbacks": {"Last": Payload(canary)}}


def naming(key: str, checkpoint: dict[str, Any], canary: Path) -> dict[str, Any]:
    # Lightning's load_from_checkpoint would import and call it.
    return checkpoint | {"hyper_parameters": {key: "os.system", "command": f"touch {canary}"}}


@pytest.mark.fault(
    5, "hostile checkpoint", "last.ckpt written anew with a pickle that calls os.system, or its name"
)
@pytest.mark.parametrize(
    "attack",
    [pickled, partial(naming, "_instantiator"), partial(naming, "_class_path")],
    ids=["pickle", "instantiator", "class_path"],
)
def test_a_hostile_checkpoint_is_refused(
    attack: Callable[..., dict[str, Any]],
    tmp_path: Path,
    train_apart: Any,
    signalled: Any,
    outcome: Callable[[str], None],
) -> None:
    stopped = train_apart(do=signalled(signal.SIGTERM, "train", 17))
    path, canary = stopped.directory / "checkpoints" / "last.ckpt", tmp_path / "canary"
    torch.save(attack(checkpoint_io.load_checkpoint(path), canary), path)
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"is refused: .*it (names code to be called|asks for posix.system)"):
        checkpoint_io.load_checkpoint(path)
    left = train_apart(f"resume={stopped.directory}", directory=stopped.directory)
    message = left.said.strip().splitlines()[-1]
    assert left.ended == "left with exit status 1"
    assert f"{path} is refused" in message
    assert not canary.exists()
    assert path.read_bytes() == before
    assert left.result == stopped.result, "nothing has started anew"
    outcome(f"exit status 1: `{message.replace(str(path), '.../last.ckpt')}`; nothing was called")


TINY = ("data.num_train=64", "data.val_size=32", "data.num_test=32", "data=garments")
MODELS = {
    "model=mlp": TINY,
    "model=mlp_scratch": TINY,
    "model=softmax_regression": TINY,
    "model=softmax_regression_scratch": TINY,
    "model=linear_regression": (),
    "model=linear_regression_scratch": (),
}
LOAD_WITHOUT_HYDRA = """
import sys
sys.modules.update(hydra=None, omegaconf=None, dive=None, pytorch_lightning=None)
import torch
for path in sys.argv[1:]:
    assert torch.load(path, weights_only=True)["state_dict"]
"""


@pytest.mark.fault(7, "Hydra, Lightning and dive not importable", "sys.modules; torch.load(weights_only=True)")
def test_checkpoints_load_with_torch_alone(train: Callable[..., Any], outcome: Callable[[str], None]) -> None:
    assert {f"model={path.stem}" for path in (ROOT / "conf" / "model").glob("*.yaml")} == MODELS.keys()
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
    # In the middle of the first weights: torch itself would load it.
    at = content.index(b"archive/data/0") + 200
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.fault(12, "last.ckpt damaged", "cut at two thirds; zeros from byte 1000 on; one bit of the weights")
@pytest.mark.parametrize("damage", [truncated, zeroed, flipped])
def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(
    damage: Callable[[bytes], bytes],
    train_apart: Any,
    signalled: Any,
    differences: Differences,
    outcome: Callable[[str], None],
) -> None:
    straight = train_apart()
    stopped = train_apart(do=signalled(signal.SIGTERM, "train", 17))
    last, best = (stopped.directory / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    last.write_bytes(damage(last.read_bytes()))
    resumed = train_apart(f"resume={stopped.directory}", directory=stopped.directory)
    assert resumed.result["status"] == "finished", resumed.said
    assert f"{last} is damaged: " in resumed.said
    assert f"; going on from {best}" in resumed.said
    assert differences(straight.directory, stopped.directory) == []
    for path in (last, best):
        path.write_bytes(damage(path.read_bytes()))
    refused = train_apart(f"resume={stopped.directory}", directory=stopped.directory)
    assert refused.ended == "left with exit status 1"
    assert "nothing to go on from" in refused.said
    assert refused.result == resumed.result, "nothing has started anew"
    outcome(
        "told as damaged; goes on from best.ckpt and ends bit for bit like a run never stopped. With best.ckpt "
        "damaged too: exit status 1, nothing starts anew"
    )
