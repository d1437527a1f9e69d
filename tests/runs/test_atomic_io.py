"""Files are there as a whole, or as they were."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dive.runs.atomic_io import atomic_write, remove_temp_files


def test_a_file_is_written_with_its_text_and_nothing_beside_it(tmp_path: Path) -> None:
    atomic_write(tmp_path / "file.txt", "one\n")
    atomic_write(tmp_path / "file.txt", "two\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "two\n"}


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write(tmp_path / "file.txt", "old")

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dive.runs.atomic_io.os.fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(tmp_path / "file.txt", "new and longer", durable=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "old"}


def test_nobody_reads_half_a_file(tmp_path: Path) -> None:
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
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `put` does with the disk, in order: which kind of thing it flushes, and when it moves the file."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushes(descriptor: int) -> None:
        entry = os.fstat(descriptor)
        done.append("flush folder" if stat.S_ISDIR(entry.st_mode) else f"flush {entry.st_size} bytes")
        fsync(descriptor)

    def moves(source: Path, target: Path) -> Path:
        done.append(f"move to {target.name}")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", flushes)
    monkeypatch.setattr(Path, "replace", moves)
    return done


def test_a_durable_file_is_on_the_disk_before_it_is_moved_and_its_name_before_put_is_done(
    tmp_path: Path, steps: list[str]
) -> None:
    atomic_write(tmp_path / "file.txt", "hello", durable=True)
    assert steps == ["flush 5 bytes", "move to file.txt", "flush folder"]


def test_other_files_need_not_wait_for_the_disk(tmp_path: Path, steps: list[str]) -> None:
    atomic_write(tmp_path / "file.txt", "hello")
    assert steps == ["move to file.txt"]


@pytest.mark.parametrize("content", ["ä\n", b"\xc3\xa4\n", memoryview(b"\xc3\xa4\n")], ids=type)
@pytest.mark.parametrize("durable", [False, True])
def test_text_and_bytes_are_written_as_they_are(
    tmp_path: Path, content: str | bytes | memoryview, durable: bool
) -> None:
    atomic_write(tmp_path / "file", content, durable=durable)
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa4\n"


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "folder" / "file", "text")
    assert list(tmp_path.iterdir()) == []


def test_files_put_durably_leave_no_descriptors_open(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.close(descriptor)
    for _ in range(3):
        atomic_write(tmp_path / "file", "text", durable=True)
    again = os.open(tmp_path, os.O_RDONLY)  # the lowest number that is free
    os.close(again)
    assert again == descriptor


def test_tidying_removes_what_put_left_half_written_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ["file.txt", ".hidden", "book.part", ".part", ".file.txt.part.txt", "notes.part.md"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".file.txt.1-2.part").write_text("another folder's")
    with monkeypatch.context() as killed:  # as if by SIGKILL: neither moved nor removed
        killed.setattr(Path, "replace", lambda *_: None)
        for name in ("file.txt", "last.ckpt", ".hidden"):
            atomic_write(tmp_path / name, "half")
    assert len(list(tmp_path.iterdir())) == len(kept) + 1 + 3
    remove_temp_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "folder"])
    assert {(tmp_path / name).read_text() for name in kept} == {"mine"}
    assert len(list((tmp_path / "folder").iterdir())) == 1


def test_a_folder_that_is_not_there_is_tidy(tmp_path: Path) -> None:
    remove_temp_files(tmp_path / "checkpoints")
