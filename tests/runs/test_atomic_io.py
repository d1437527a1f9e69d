"""Atomic writes: a file has its old or its new content."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dive.runs.atomic_io import atomic_write, remove_temp_files


def test_file_is_written_without_leftovers(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file.txt", "one\n")
    atomic_write(tmp_path / "file.txt", "two\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "two\n"}


def test_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write(tmp_path / "file.txt", "old")

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dive.runs.atomic_io.os.fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(tmp_path / "file.txt", "new and longer", durable=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "old"}


def test_concurrent_reader_sees_old_or_new_content(tmp_path: Path) -> None:
    path, texts = tmp_path / "file.txt", ("a" * 1_000_000, "b" * 1_000_000)
    atomic_write(path, texts[0])
    done = threading.Event()

    def read() -> bool:
        whole = True
        while not done.is_set():
            whole = whole and path.read_text() in texts
        return whole

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for i in range(60):
            atomic_write(path, texts[i % 2])
        done.set()
        assert reading.result()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The flushes and renames of `atomic_write`, in order."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_flush(descriptor: int) -> None:
        entry = os.fstat(descriptor)
        done.append("flush directory" if stat.S_ISDIR(entry.st_mode) else f"flush {entry.st_size} bytes")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", record_flush)
    monkeypatch.setattr(Path, "replace", record_replace)
    return done


def test_durable_write_flushes_the_file_renames_it_and_flushes_the_directory(
    tmp_path: Path, calls: list[str]
) -> None:
    atomic_write(tmp_path / "file.txt", "hello", durable=True)
    assert calls == ["flush 5 bytes", "rename to file.txt", "flush directory"]


def test_default_write_does_not_flush(tmp_path: Path, calls: list[str]) -> None:
    atomic_write(tmp_path / "file.txt", "hello")
    assert calls == ["rename to file.txt"]


@pytest.mark.parametrize("content", ["ä\n", b"\xc3\xa4\n", memoryview(b"\xc3\xa4\n")], ids=type)
@pytest.mark.parametrize("durable", [False, True])
def test_text_and_bytes_are_written_unchanged(
    tmp_path: Path, content: str | bytes | memoryview, durable: bool
) -> None:
    atomic_write(tmp_path / "file", content, durable=durable)
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa4\n"


def test_missing_directory_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "folder" / "file", "text")
    assert list(tmp_path.iterdir()) == []


def test_durable_writes_leave_no_open_descriptors(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.close(descriptor)
    for _ in range(3):
        atomic_write(tmp_path / "file", "text", durable=True)
    lowest_free = os.open(tmp_path, os.O_RDONLY)
    os.close(lowest_free)
    assert lowest_free == descriptor


def test_remove_temp_files_removes_only_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = ["file.txt", ".hidden", "book.part", ".part", ".file.txt.part.txt", "notes.part.md"]
    for name in others:
        (tmp_path / name).write_text("original")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".file.txt.1-2.part").write_text("in another directory")
    with monkeypatch.context() as killed:  # as by SIGKILL: neither renamed nor removed
        killed.setattr(Path, "replace", lambda *_: None)
        killed.setattr(Path, "unlink", lambda *_, **__: None)
        for name in ("file.txt", "last.ckpt", ".hidden"):
            atomic_write(tmp_path / name, "half")
    assert len(list(tmp_path.iterdir())) == len(others) + 1 + 3
    remove_temp_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "folder"])
    assert {(tmp_path / name).read_text() for name in others} == {"original"}
    assert len(list((tmp_path / "folder").iterdir())) == 1


def test_remove_temp_files_accepts_a_missing_directory(tmp_path: Path) -> None:
    remove_temp_files(tmp_path / "checkpoints")
