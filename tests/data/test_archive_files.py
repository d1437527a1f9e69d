"""The published files: read, and told apart when damaged or missing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.published import (
    COMPLETE,
    CONTENTS,
    IMAGES,
    LAST,
    contents,
    empty,
    flip,
    put_archives,
    truncate,
)
from torchvision.datasets import FashionMNIST

from dive.data import archive_files
from dive.errors import DataError

pytestmark = pytest.mark.usefixtures("small_archives")


def test_read_prefers_the_unpacked_file(folder: Path, messages: pytest.LogCaptureFixture) -> None:
    put_archives(folder)
    (folder / IMAGES).write_bytes(CONTENTS[IMAGES])
    (folder / f"{IMAGES}.gz").write_bytes(b"damaged")
    assert archive_files.read(folder, IMAGES) == CONTENTS[IMAGES]
    assert not messages.records


def test_read_unpacks_the_archive_where_there_is_nothing_else(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    put_archives(folder)
    assert {name: archive_files.read(folder, name) for name in CONTENTS} == CONTENTS
    assert not messages.records


def test_read_takes_the_archive_and_says_so_when_the_unpacked_file_is_damaged(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    put_archives(folder)
    (folder / IMAGES).write_bytes(flip(CONTENTS[IMAGES]))
    assert archive_files.read(folder, IMAGES) == CONTENTS[IMAGES]
    said = {record.getMessage() for record in messages.records}
    assert said == {f"{folder / IMAGES} is damaged; read {IMAGES}.gz instead"}


def refusal(folder: Path, name: str) -> str:
    """What reading a file is answered with, less the advice at its end."""
    with pytest.raises(DataError) as caught:
        archive_files.read(folder, name)
    assert str(caught.value).endswith(archive_files.HELP)
    return str(caught.value).removesuffix(archive_files.HELP)


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
        archive_files.read(folder, name)
    assert contents(folder) == before
    assert not (folder / ".lock").exists()


def test_read_does_not_make_the_folder(folder: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        archive_files.read(folder, IMAGES)
    assert not folder.exists()


def test_a_file_damaged_in_both_places_is_told_with_both(folder: Path) -> None:
    put_archives(folder)
    for name in (IMAGES, f"{IMAGES}.gz"):
        (folder / name).write_bytes(b"damaged")
    assert refusal(folder, IMAGES) == (
        f"{folder / IMAGES} is damaged: its SHA-256 is not that of the published file, and so is {IMAGES}.gz. "
    )


def test_the_files_lie_where_torchvision_puts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = FashionMNIST.__new__(FashionMNIST)
    theirs.root = str(tmp_path)
    folder = archive_files.raw_folder(tmp_path)
    assert str(folder) == theirs.raw_folder
    monkeypatch.chdir(tmp_path)
    assert archive_files.raw_folder(".") == folder
