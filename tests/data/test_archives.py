"""The published files: read, told apart when damaged, downloaded once, imported whole or not at all."""

import errno
import gzip
import hashlib
import json
import logging
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from torchvision.datasets import FashionMNIST

from dive.data import archives
from dive.errors import DataError

CONTENTS = {name: f"content of {name}, ".encode() * 50 for name in archives.DIGESTS}
ARCHIVES = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
DIGESTS = {
    name: (hashlib.sha256(ARCHIVES[name]).hexdigest(), hashlib.sha256(CONTENTS[name]).hexdigest())
    for name in CONTENTS
}
IMAGES = "train-images-idx3-ubyte"
LAST = "t10k-labels-idx1-ubyte"


@pytest.fixture(autouse=True)
def small_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tiny files stand for the published ones."""
    monkeypatch.setattr(archives, "DIGESTS", DIGESTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the files belong; it does not exist yet."""
    return archives.raw_folder(tmp_path / "data")


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What archives log, also where an earlier test has cut off the root logger."""
    archives.log.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING, archives.log.name):
        yield caplog
    archives.log.removeHandler(caplog.handler)


def put_archives(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in ARCHIVES.items():
        (folder / f"{name}.gz").write_bytes(content)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


COMPLETE = CONTENTS | {f"{name}.gz": archive for name, archive in ARCHIVES.items()}


def truncate(content: bytes) -> bytes:
    return content[:-1]


def empty(content: bytes) -> bytes:
    return b""


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


class Server(ThreadingHTTPServer):
    """A mirror on this machine.

    Attributes:
        downloads: how often each path was asked for. Before each download torchvision asks where it redirects
            to, with a header ``Method: HEAD``; that does not count.
    """

    def __init__(self, answer: Callable[[str], bytes], seconds: float = 0.0) -> None:
        self.downloads: Counter[str] = Counter()
        self.url = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers["Method"] != "HEAD":
                    server.downloads[self.path.removeprefix("/")] += 1
                    time.sleep(seconds)
                body = answer(self.path.removeprefix("/"))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Nothing on stderr."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Start mirrors that torchvision uses instead of its own, and stop them at the end."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(answer: Callable[[str], bytes], seconds: float = 0.0) -> Server:
        server = Server(answer, seconds)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        monkeypatch.setattr(FashionMNIST, "mirrors", [server.url])
        monkeypatch.setenv("no_proxy", "*")
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def published(path: str) -> bytes:
    return ARCHIVES[path.removesuffix(".gz")]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No host is known."""

    def fail(*args: Any, **kwargs: Any) -> None:
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", fail)


def no_download(name: str) -> bytes:
    raise AssertionError(f"{name} must not be downloaded")


def test_read_prefers_the_unpacked_file(folder: Path, messages: pytest.LogCaptureFixture) -> None:
    put_archives(folder)
    (folder / IMAGES).write_bytes(CONTENTS[IMAGES])
    (folder / f"{IMAGES}.gz").write_bytes(b"damaged")
    assert archives.read(folder, IMAGES) == CONTENTS[IMAGES]
    assert not messages.records


def test_read_unpacks_the_archive_where_there_is_nothing_else(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    put_archives(folder)
    assert {name: archives.read(folder, name) for name in CONTENTS} == CONTENTS
    assert not messages.records


def test_read_takes_the_archive_and_says_so_when_the_unpacked_file_is_damaged(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    put_archives(folder)
    (folder / IMAGES).write_bytes(flip(CONTENTS[IMAGES]))
    assert archives.read(folder, IMAGES) == CONTENTS[IMAGES]
    said = {record.getMessage() for record in messages.records}
    assert said == {f"{folder / IMAGES} is damaged; read {IMAGES}.gz instead"}


def refusal(folder: Path, name: str) -> str:
    """What reading a file is answered with, less the advice at its end."""
    with pytest.raises(DataError) as caught:
        archives.read(folder, name)
    assert str(caught.value).endswith(archives.HELP)
    return str(caught.value).removesuffix(archives.HELP)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_damaged_file_is_called_damaged_and_named(
    folder: Path, ending: str, damage: Callable[[bytes], bytes]
) -> None:
    folder.mkdir(parents=True)
    path = folder / f"{IMAGES}{ending}"
    path.write_bytes(damage(COMPLETE[path.name]))
    message = refusal(folder, IMAGES)
    assert message.startswith(f"{path} is damaged: ")
    assert "missing" not in message


def test_a_missing_file_is_called_missing_and_named(folder: Path) -> None:
    put_archives(folder)
    (folder / f"{LAST}.gz").unlink()
    message = refusal(folder, LAST)
    assert message.startswith(f"Fashion-MNIST is not in {folder}: {LAST}.gz is missing.")
    assert "damaged" not in message


def test_read_writes_nothing(folder: Path) -> None:
    put_archives(folder)
    (folder / LAST).write_bytes(b"damaged")
    before = contents(folder)
    for name in CONTENTS:
        archives.read(folder, name)
    assert contents(folder) == before
    assert not (folder / ".lock").exists()


def test_read_does_not_make_the_folder(folder: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        archives.read(folder, IMAGES)
    assert not folder.exists()


def test_ensure_neither_downloads_nor_writes_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_archives(folder)
    monkeypatch.setattr(archives, "_download", no_download)
    archives.ensure(folder)
    assert {path.name for path in folder.iterdir()} == {f"{name}.gz" for name in CONTENTS}


@pytest.mark.usefixtures("offline")
def test_ensure_without_network_names_the_cause_the_folder_and_both_commands(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        archives.ensure(folder)
    message = str(caught.value)
    assert f"Fashion-MNIST is not in {folder}: {IMAGES}.gz is missing." in message
    assert "cannot be downloaded: [Errno -2] Name or service not known." in message
    assert "`python scripts/download.py --from DIR`" in message
    assert "`data=garments`" in message
    assert message.count("python scripts/download.py") == 1
    assert "\n" not in message
    assert contents(folder) == {}


@pytest.mark.usefixtures("offline")
def test_ensure_without_network_tells_a_damaged_file_from_a_missing_one(folder: Path) -> None:
    put_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        archives.ensure(folder)
    assert str(caught.value).startswith(f"{folder / LAST}.gz is damaged: ")


def test_ensure_downloads_the_four_files_and_unpacks_them(folder: Path, serve: Callable[..., Server]) -> None:
    server = serve(published)
    archives.ensure(folder)
    assert contents(folder) == COMPLETE
    assert server.downloads == {f"{name}.gz": 1 for name in CONTENTS}


def test_ensure_repairs_a_damaged_file_and_downloads_no_other(folder: Path, serve: Callable[..., Server]) -> None:
    put_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(flip(ARCHIVES[LAST]))
    server = serve(published)
    archives.ensure(folder)
    assert {name: archives.read(folder, name) for name in CONTENTS} == CONTENTS
    assert (folder / f"{LAST}.gz").read_bytes() == ARCHIVES[LAST]
    assert server.downloads == {f"{LAST}.gz": 1}


def test_a_server_that_sends_a_web_page_instead_is_refused(folder: Path, serve: Callable[..., Server]) -> None:
    serve(lambda _: b"<!DOCTYPE html><title>Please log in</title>")
    with pytest.raises(DataError, match=f"{IMAGES}.gz is not the published archive") as caught:
        archives.ensure(folder)
    assert "\n" not in str(caught.value)
    assert contents(folder) == {}


def test_a_download_waits_for_a_limited_time_and_leaves_the_default_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fail(*args: Any, **kwargs: Any) -> None:
        seen.append(socket.getdefaulttimeout())
        raise URLError(TimeoutError("timed out"))

    before = socket.getdefaulttimeout()
    monkeypatch.setattr(urllib.request, "urlopen", fail)
    socket.setdefaulttimeout(12.5)
    try:
        with pytest.raises(DataError, match="cannot be downloaded: timed out"):
            archives.ensure(folder)
        assert set(seen) == {archives.TIMEOUT_S}
        assert socket.getdefaulttimeout() == 12.5
    finally:
        socket.setdefaulttimeout(before)


# Loads the module by its path, since dive.data imports torch, and fetches without torchvision for the same reason.
ENSURE = """
import importlib.util, json, pathlib, sys, time, urllib.request
module, folder, url, digests = sys.argv[1:]
spec = importlib.util.spec_from_file_location("archives", module)
archives = importlib.util.module_from_spec(spec)
spec.loader.exec_module(archives)
archives.DIGESTS = json.loads(digests)
archives._download = lambda name: urllib.request.urlopen(f"{url}{name}.gz").read()
print("ready", flush=True)
sys.stdin.readline()
archives.ensure(pathlib.Path(folder))
"""


def test_processes_that_ensure_at_once_download_each_file_once(folder: Path, serve: Callable[..., Server]) -> None:
    server = serve(published, seconds=0.05)
    command = [sys.executable, "-c", ENSURE, archives.__file__, str(folder), server.url, json.dumps(DIGESTS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=30)[1] for process in processes] == [""] * 4
    assert [process.returncode for process in processes] == [0] * 4
    assert server.downloads == {f"{name}.gz": 1 for name in CONTENTS}
    assert contents(folder) == COMPLETE


def test_import_copies_the_four_archives_and_unpacks_them(tmp_path: Path, folder: Path) -> None:
    archives.import_from(put_archives(tmp_path / "source"), folder)
    assert contents(folder) == COMPLETE


def test_import_repairs_damaged_files(tmp_path: Path, folder: Path) -> None:
    put_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(b"damaged")
    (folder / IMAGES).write_bytes(b"damaged")
    archives.import_from(put_archives(tmp_path / "source"), folder)
    assert contents(folder) == COMPLETE


@pytest.mark.parametrize("damage", [truncate, flip, empty])
@pytest.mark.parametrize("name", CONTENTS)
def test_import_refuses_an_archive_that_is_not_the_published_one(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path, folder: Path
) -> None:
    source = put_archives(tmp_path / "source")
    (source / f"{name}.gz").write_bytes(damage(ARCHIVES[name]))
    with pytest.raises(DataError, match=f"{name}.gz is not the published archive"):
        archives.import_from(source, folder)
    copied = contents(folder)
    assert {name, f"{name}.gz"}.isdisjoint(copied)
    assert copied == {path: COMPLETE[path] for path in copied}


def test_import_names_the_archive_that_does_not_exist(tmp_path: Path, folder: Path) -> None:
    source = put_archives(tmp_path / "source")
    (source / f"{LAST}.gz").unlink()
    with pytest.raises(DataError, match=f"^{source / LAST}.gz does not exist; --from needs the folder"):
        archives.import_from(source, folder)
    assert {LAST, f"{LAST}.gz"}.isdisjoint(contents(folder))


@pytest.mark.parametrize("in_the_way", ["data", "data/FashionMNIST", "data/FashionMNIST/raw"])
@pytest.mark.parametrize("how", ["ensure", "import_from"])
def test_a_folder_that_cannot_be_written_is_named(how: str, in_the_way: str, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file, not a folder")
    with pytest.raises(DataError) as caught:
        archives.ensure(folder) if how == "ensure" else archives.import_from(
            put_archives(tmp_path / "source"), folder
        )
    assert str(caught.value).startswith(f"cannot write to {folder}: ")
    assert str(caught.value).endswith(archives.HELP)
    assert path.read_text() == "a file, not a folder"


def test_a_full_disk_leaves_no_half_file_in_place(
    folder: Path, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bytes = Path.write_bytes

    def write_half(path: Path, content: bytes) -> int:
        if path.parent != folder:
            return write_bytes(path, content)
        write_bytes(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    serve(published)
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(DataError, match="No space left on device"):
        archives.ensure(folder)
    assert COMPLETE.keys().isdisjoint(contents(folder))


def test_the_files_lie_where_torchvision_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = FashionMNIST.__new__(FashionMNIST)
    theirs.root = str(tmp_path)
    folder = archives.raw_folder(tmp_path)
    assert str(folder) == theirs.raw_folder
    monkeypatch.chdir(tmp_path)
    assert archives.raw_folder(".") == folder
