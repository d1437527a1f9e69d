"""Faults of the data files: damaged, partially downloaded, downloaded concurrently, unavailable."""

import gzip
import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dive.data import FashionMNISTDataModule, archive_files, download, fashion_mnist_files
from dive.errors import DataError

ROOT = Path(__file__).parents[2]
IMAGES = "train-images-idx3-ubyte"
UNREACHABLE = "http://127.0.0.1:9/"
Outcome = Callable[[str], None]


def idx(array: np.ndarray) -> bytes:
    lengths = np.array(array.shape, dtype=">u4").tobytes()
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A data set of a few images in place of the published one: its archives and their content."""
    rng, files, checksums = np.random.default_rng(0), {}, {}
    for name in archive_files.SHA256:
        files[name] = idx(rng.integers(10, size=(100, 28, 28) if "images" in name else 100))
        files[f"{name}.gz"] = gzip.compress(files[name], mtime=0)
        checksums[name] = (archive_files.sha256(files[f"{name}.gz"]), archive_files.sha256(files[name]))
    monkeypatch.setattr(archive_files, "SHA256", checksums)
    return files


@pytest.fixture
def warnings_logged() -> Iterator[list[str]]:
    """The messages logged at WARNING and above."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    for log in (archive_files.log, fashion_mnist_files.log):
        log.addHandler(handler)
    yield messages
    for log in (archive_files.log, fashion_mnist_files.log):
        log.removeHandler(handler)


def fill(root: Path, files: dict[str, bytes]) -> Path:
    folder = archive_files.raw_folder(root)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def all_files(root: Path) -> dict[str, bytes]:
    """Every file of the data folder, including hidden ones, except the lock."""
    return {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


def tensors(root: Path, mirror: str = UNREACHABLE, timeout: float = 5) -> list[torch.Tensor]:
    """The data set as a training run loads it."""
    data = FashionMNISTDataModule(root, mirror, timeout, resize=[28, 28], val_size=20, batch_size=10)
    data.prepare_data()
    return [tensor for split in data.splits for tensor in (split.inputs, split.targets)]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def mirror_of(files: dict[str, bytes]) -> Callable[[str, Any], Iterable[bytes]]:
    return lambda name, _: [b"HTTP/1.0 200 OK\r\n\r\n", files[name]]


def format_message(text: str, root: Path, url: str = UNREACHABLE) -> str:
    """Format a message for the report, without paths, URLs, checksums and the help text."""
    text = text.removesuffix(f" {archive_files.HELP}").replace(f"{archive_files.raw_folder(root)}", "RAW")
    return f"“{re.sub('[0-9a-f]{64}', '...', text.replace(url, 'http://MIRROR/'))}”"


def flip_byte(content: bytes) -> bytes:
    return content[:20000] + bytes([content[20000] ^ 255]) + content[20001:]


def truncate(content: bytes) -> bytes:
    return content[:20000]


FLIPPED = ("one byte of the unpacked file flipped, same length", "byte 20000 of the file XOR 255")
TRUNCATED = ("the unpacked file truncated", "its first 20000 bytes")
TRUNCATED_ARCHIVE = ("the archive truncated", "its first 20000 bytes")
DAMAGES = [
    pytest.param(IMAGES, flip_byte, marks=pytest.mark.fault(9, *FLIPPED), id="flipped"),
    pytest.param(IMAGES, truncate, marks=pytest.mark.fault(9, *TRUNCATED), id="truncated"),
    pytest.param(f"{IMAGES}.gz", truncate, marks=pytest.mark.fault(9, *TRUNCATED_ARCHIVE), id="truncated archive"),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damaged_file_beside_a_valid_one(
    name: str,
    damage: Any,
    small: dict[str, bytes],
    root: Path,
    tmp_path: Path,
    warnings_logged: list[str],
    outcome: Outcome,
) -> None:
    fill(tmp_path / "valid", small)
    valid = tensors(tmp_path / "valid")
    folder = fill(root, small | {name: damage(small[name])})
    assert same(tensors(root), valid)
    if name.endswith(".gz"):
        assert not warnings_logged
        outcome("beside the valid unpacked file: that file is read, the tensors are the same")
        return
    assert warnings_logged == [f"{folder / name} was damaged; restored it from {name}.gz"]
    assert all_files(root) == small
    outcome(
        f"beside the valid archive: repaired, the tensors are the same; {format_message(warnings_logged[0], root)}"
    )


def alone(small: dict[str, bytes], name: str, damage: Any) -> dict[str, bytes]:
    """All files; of this pair only one, which is damaged."""
    others = {path: content for path, content in small.items() if path.removesuffix(".gz") != IMAGES}
    return others | {name: damage(small[name])}


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damaged_file_alone_without_a_server(
    name: str, damage: Any, small: dict[str, bytes], root: Path, outcome: Outcome
) -> None:
    files = alone(small, name, damage)
    folder = fill(root, files)
    with pytest.raises(DataError) as caught:
        tensors(root)
    message = str(caught.value)
    assert message.startswith(f"{folder / name} is damaged: ")
    assert message.endswith(
        f"The download failed: {UNREACHABLE}{IMAGES}.gz: Connection refused. {archive_files.HELP}"
    )
    assert "missing" not in message
    assert "\n" not in message
    assert all_files(root) == files
    outcome(f"no other copy, no network: {format_message(message, root)}")


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damaged_file_alone_with_a_server(
    name: str, damage: Any, small: dict[str, bytes], root: Path, tmp_path: Path, serve: Any, outcome: Outcome
) -> None:
    fill(tmp_path / "valid", small)
    fill(root, alone(small, name, damage))
    server = serve(mirror_of(small))
    assert same(tensors(root, server.url), tensors(tmp_path / "valid"))
    assert all_files(root) == small
    assert server.requests == {f"{IMAGES}.gz": 1}
    outcome("no other copy: only that file is downloaded again; the tensors are the same")


@pytest.mark.fault(
    9, "archive and unpacked file both damaged", "the archive truncated, a byte of the other file flipped"
)
@pytest.mark.parametrize("online", [True, False])
def test_both_files_damaged(
    online: bool, small: dict[str, bytes], root: Path, serve: Any, outcome: Outcome
) -> None:
    damaged = small | {IMAGES: flip_byte(small[IMAGES]), f"{IMAGES}.gz": truncate(small[f"{IMAGES}.gz"])}
    fill(root, damaged)
    if online:
        tensors(root, serve(mirror_of(small)).url)
        assert all_files(root) == small
        outcome("downloaded again, both files replaced")
        return
    with pytest.raises(DataError, match=f"and {IMAGES}.gz are damaged: .* The download failed: ") as caught:
        tensors(root)
    assert all_files(root) == damaged
    outcome(f"without network: {format_message(str(caught.value), root)}")


@pytest.mark.fault(9, *FLIPPED)
def test_real_data_set_and_its_metrics(real_data: Path, train: Any, tmp_path: Path, outcome: Outcome) -> None:
    scores = []
    for root in (tmp_path / "valid", tmp_path / "flipped"):
        folder = fill(root, {})
        for name in archive_files.SHA256:
            archive = archive_files.raw_folder(real_data) / f"{name}.gz"
            (folder / archive.name).symlink_to(archive)
        if root.name == "flipped":
            (folder / IMAGES).write_bytes(flip_byte(archive_files.read(folder, IMAGES)))
        steps = ("+trainer.limit_train_batches=10", "trainer.max_epochs=1", "trainer=cpu")
        run = train("model=softmax_regression", f"data.root={root}", f"data.mirror={UNREACHABLE}", *steps)
        scores.append(run.result["score"])
        warned = "was damaged; restored" in (run.directory / "train.log").read_text()
        assert warned == (root.name == "flipped")
    assert scores[0] == scores[1]
    assert archive_files.sha256((folder / IMAGES).read_bytes()) == archive_files.SHA256[IMAGES][1]
    outcome("in the real data set, beside the valid archive: train.py repairs it, warns, reaches the same score")


DOWNLOAD = """
import sys
from dive.data import FashionMNISTDataModule
data = FashionMNISTDataModule(sys.argv[1], sys.argv[2], 30, resize=[28, 28], val_size=10000, batch_size=256)
print("ready", flush=True)
sys.stdin.readline()
data.prepare_data()
print(*(len(labels) for images, labels in data.read()))
"""


@pytest.mark.fault(10, "four concurrent first downloads", "four processes, the real data set, a slow server")
def test_four_concurrent_downloads(real_data: Path, root: Path, serve: Any, outcome: Outcome) -> None:
    files = {
        f"{name}.gz": (archive_files.raw_folder(real_data) / f"{name}.gz").read_bytes()
        for name in archive_files.SHA256
    }

    def slowly(name: str, pause: Callable[[float], object]) -> Iterator[bytes]:
        yield b"HTTP/1.0 200 OK\r\n\r\n"
        for start in range(0, len(files[name]), 2**18):
            yield files[name][start : start + 2**18]
            pause(0.02)

    server = serve(slowly)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", DOWNLOAD, str(root), server.url]
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120) for process in processes] == [("60000 10000\n", "")] * 4
    assert server.requests == dict.fromkeys(files, 1)
    files_left = all_files(root)
    assert files_left.keys() == {path for name in archive_files.SHA256 for path in (name, f"{name}.gz")}
    for name, checksums in archive_files.SHA256.items():
        assert tuple(archive_files.sha256(files_left[path]) for path in (f"{name}.gz", name)) == checksums
    outcome("all four load the data set; one valid copy, each archive requested once, no other files left")


def silent(name: str, pause: Callable[[float], object]) -> Iterable[bytes]:
    pause(300)
    yield b""


def stalled(name: str, pause: Callable[[float], object]) -> Iterator[bytes]:
    yield b"HTTP/1.0 200 OK\r\nContent-Length: 26421880\r\n\r\n" + b"\x1f\x8b" * 5000
    pause(300)


def trickling(name: str, pause: Callable[[float], object]) -> Iterator[bytes]:
    yield b"HTTP/1.0 200 OK\r\nContent-Length: 26421880\r\n\r\n"
    while not pause(0.05):
        yield b"\x1f"


def page(name: str, pause: Callable[[float], object]) -> Iterable[bytes]:
    yield b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n"
    yield b"<!DOCTYPE html>\n<html><body>Please log in</body></html>\n"


def training(root: Path, run: Path, mirror: str, *overrides: str) -> subprocess.Popen[str]:
    """Start train.py."""
    arguments = ("model=mlp", "trainer=cpu", f"data.root={root}", f"data.mirror={mirror}", f"hydra.run.dir={run}")
    command = [sys.executable, str(ROOT / "train.py"), *arguments, *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.fault(13, "SIGTERM during the download", "train.py, in the middle of the first archive")
def test_sigterm_during_the_download(root: Path, tmp_path: Path, serve: Any, outcome: Outcome) -> None:
    server = serve(stalled)
    process = training(root, tmp_path / "run", server.url, "data.timeout=60")
    try:
        deadline = time.monotonic() + 120
        while not server.requests:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert all_files(root) == {}
    assert process.returncode == 143, (out, err)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert "Traceback" not in out + err
    outcome("exits immediately with status 143; result.json says interrupted; no complete or partial file is left")


FAILURES = [
    pytest.param(None, "Connection refused", marks=pytest.mark.fault(22, "no network", "a port that is closed")),
    pytest.param(
        "http://mirror.invalid/",
        r"Name or service not known|Temporary failure in name resolution|No address associated with hostname",
        marks=pytest.mark.fault(22, "no network", "an unknown host name"),
    ),
    pytest.param(
        silent,
        r"no data received for 0\.5 s \(data\.timeout\)",
        marks=pytest.mark.fault(22, "a server that stalls", "it accepts and sends nothing"),
    ),
    pytest.param(
        stalled,
        r"no data received for 0\.5 s \(data\.timeout\)",
        marks=pytest.mark.fault(22, "a server that stalls", "it stops in the middle of the archive"),
    ),
    pytest.param(
        trickling,
        r"not finished within 1 s \(2 times data\.timeout\)",
        marks=pytest.mark.fault(22, "a server that stalls", "it sends single bytes"),
    ),
    pytest.param(
        page,
        r"is not the published archive: its SHA-256 is .*, and it looks like a web page \(HTML\)",
        marks=pytest.mark.fault(22, "a web page instead of data", "status 200, text/html"),
    ),
]


@pytest.mark.parametrize(("answer", "why"), FAILURES)
def test_failed_download(
    answer: Any, why: str, root: Path, serve: Any, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    monkeypatch.setattr(download, "TOTAL_TIMEOUT_FACTOR", 2)
    monkeypatch.setenv("no_proxy", "*")
    url = serve(answer).url if callable(answer) else answer or UNREACHABLE
    start = time.monotonic()
    with pytest.raises(DataError, match=why) as caught:
        tensors(root, url, timeout=0.5)
    assert time.monotonic() - start < 10
    message = str(caught.value)
    assert message.startswith(
        f"Fashion-MNIST is not in {archive_files.raw_folder(root)}: {IMAGES}.gz is missing. "
    )
    assert message.endswith(archive_files.HELP)
    assert "\n" not in message
    assert all_files(root) == {}
    text = format_message(message, root, url).replace("2 times", "20 times").replace(" within 1 s", " within 10 s")
    outcome(text)


@pytest.mark.fault(22, "a server that stalls", "train.py, and a server that accepts and sends nothing")
def test_failed_download_on_the_command_line(root: Path, tmp_path: Path, serve: Any, outcome: Outcome) -> None:
    server = serve(silent)
    process = training(root, tmp_path / "run", server.url, "data.timeout=0.5")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"error: Fashion-MNIST is not in {archive_files.raw_folder(root)}: ")
    assert "no data received for 0.5 s (data.timeout)" in err
    assert err.count("\n") == 1
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"
    assert all_files(root) == {}
    outcome(
        "a one-line error with the cause and the remedy; exit status 1, result.json says failed, no files left"
    )
