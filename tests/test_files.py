"""Files are there as a whole, or as they were."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dive.files import put


def test_a_file_is_written_with_its_text_and_nothing_beside_it(tmp_path: Path) -> None:
    put(tmp_path / "file.txt", "one\n")
    put(tmp_path / "file.txt", "two\n")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "two\n"}


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "file.txt", "old")

    def fails(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dive.files.os.fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path / "file.txt", "new and longer", durable=True)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "old"}


def test_nobody_reads_half_a_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "file.txt", ("a" * 1_000_000, "b" * 1_000_000)
    put(path, texts[0])
    done = threading.Event()

    def read() -> bool:
        whole = True
        while not done.is_set():
            whole = whole and path.read_text() in texts
        return whole

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for i in range(60):
            put(path, texts[i % 2])
        done.set()
        assert reading.result()
