"""Verified reading of the Fashion-MNIST files; errors distinguish damaged from missing files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.published import (
    COMPLETE,
    CONTENTS,
    IMAGES,
    LAST,
    empty,
    flip_byte,
    read_files,
    truncate,
    write_archives,
)
from torchvision.datasets import FashionMNIST

from dive.data import archive_files
from dive.errors import DataError

pytestmark = pytest.mark.usefixtures("small_archives")


def test_read_prefers_the_unpacked_file(folder: Path, messages: pytest.LogCaptureFixture) -> None:
    write_archives(folder)
    (folder / IMAGES).write_bytes(CONTENTS[IMAGES])
    (folder / f"{IMAGES}.gz").write_bytes(b"damaged")
    assert archive_files.read(folder, IMAGES) == CONTENTS[IMAGES]
    assert not messages.records


def test_read_unpacks_the_archive_if_there_is_no_unpacked_file(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    write_archives(folder)
    assert {name: archive_files.read(folder, name) for name in CONTENTS} == CONTENTS
    assert not messages.records


def test_read_falls_back_to_the_archive_with_a_warning(folder: Path, messages: pytest.LogCaptureFixture) -> None:
    write_archives(folder)
    (folder / IMAGES).write_bytes(flip_byte(CONTENTS[IMAGES]))
    assert archive_files.read(folder, IMAGES) == CONTENTS[IMAGES]
    messages_logged = {record.getMessage() for record in messages.records}
    assert messages_logged == {f"{folder / IMAGES} is damaged; using {IMAGES}.gz instead"}


def error_message(folder: Path, name: str) -> str:
    """The error of reading a file, without the help at its end."""
    with pytest.raises(DataError) as caught:
        archive_files.read(folder, name)
    assert str(caught.value).endswith(archive_files.HELP)
    return str(caught.value).removesuffix(archive_files.HELP)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("damage", [truncate, flip_byte, empty])
def test_error_for_a_damaged_file(folder: Path, suffix: str, damage: Callable[[bytes], bytes]) -> None:
    folder.mkdir(parents=True)
    path = folder / f"{IMAGES}{suffix}"
    path.write_bytes(damage(COMPLETE[path.name]))
    message = error_message(folder, IMAGES)
    assert message.startswith(f"{path} is damaged: ")
    assert "missing" not in message


def test_error_for_a_missing_file(folder: Path) -> None:
    write_archives(folder)
    (folder / f"{LAST}.gz").unlink()
    message = error_message(folder, LAST)
    assert message.startswith(f"Fashion-MNIST is not in {folder}: {LAST}.gz is missing.")
    assert "damaged" not in message


def test_read_writes_nothing(folder: Path) -> None:
    write_archives(folder)
    (folder / LAST).write_bytes(b"damaged")
    before = read_files(folder)
    for name in CONTENTS:
        archive_files.read(folder, name)
    assert read_files(folder) == before
    assert not (folder / ".lock").exists()


def test_read_does_not_create_the_folder(folder: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        archive_files.read(folder, IMAGES)
    assert not folder.exists()


def test_error_for_damaged_file_and_archive(folder: Path) -> None:
    write_archives(folder)
    for name in (IMAGES, f"{IMAGES}.gz"):
        (folder / name).write_bytes(b"damaged")
    assert error_message(folder, IMAGES) == (
        f"{folder / IMAGES} and {IMAGES}.gz are damaged: "
        "their SHA-256 checksums do not match the published files. "
    )


def test_raw_folder_matches_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision_data = FashionMNIST.__new__(FashionMNIST)
    torchvision_data.root = str(tmp_path)
    folder = archive_files.raw_folder(tmp_path)
    assert str(folder) == torchvision_data.raw_folder
    monkeypatch.chdir(tmp_path)
    assert archive_files.raw_folder(".") == folder
