"""The published files in their folder: downloaded once, repaired, imported; whole or not at all."""

import os
import resource
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.data.published import (
    ARCHIVES,
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

from dive.data import archive_files, fashion_mnist_files
from dive.errors import DataError

pytestmark = pytest.mark.usefixtures("small_archives")


def good(name: str, pause: Any) -> Iterable[bytes]:
    """The answer of a mirror."""
    yield b"HTTP/1.0 200 OK\r\n\r\n"
    pause(0.02)
    yield ARCHIVES[name.removesuffix(".gz")]


NOBODY = "http://127.0.0.1:9/"


def ensure(folder: Path, mirror: str = NOBODY) -> dict[str, bytes]:
    return fashion_mnist_files.ensure_downloaded(folder, mirror, 5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers of this machine are asked directly."""
    monkeypatch.setenv("no_proxy", "*")


def test_what_is_there_is_neither_downloaded_nor_written_and_comes_back_checked(folder: Path) -> None:
    put_archives(folder)
    assert ensure(folder) == CONTENTS
    assert {path.name for path in folder.iterdir()} == {f"{name}.gz" for name in CONTENTS}


def test_without_network_the_line_names_the_cause_the_folder_and_both_commands(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        ensure(folder)
    message = str(caught.value)
    assert f"Fashion-MNIST is not in {folder}: {IMAGES}.gz is missing." in message
    assert f"It cannot be downloaded: {NOBODY}{IMAGES}.gz: Connection refused." in message
    assert "`python scripts/download_data.py --from DIR`" in message
    assert "`data=garments`" in message
    assert message.count("python scripts/download_data.py") == 1
    assert "\n" not in message
    assert contents(folder) == {}


def test_without_network_a_damaged_file_is_told_from_a_missing_one(folder: Path) -> None:
    put_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        ensure(folder)
    assert str(caught.value).startswith(f"{folder / LAST}.gz is damaged: ")


@pytest.mark.parametrize("ending", ["", "/", "/some/place/"])
def test_the_four_files_are_downloaded_and_unpacked(folder: Path, ending: str, serve: Any) -> None:
    server = serve(good)
    assert ensure(folder, server.url.rstrip("/") + ending) == CONTENTS
    assert contents(folder) == COMPLETE
    assert server.requests == {f"{name}.gz": 1 for name in CONTENTS}


def test_a_damaged_archive_is_downloaded_again_and_no_other(folder: Path, serve: Any) -> None:
    put_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(flip(ARCHIVES[LAST]))
    server = serve(good)
    assert ensure(folder, server.url) == CONTENTS
    assert (folder / f"{LAST}.gz").read_bytes() == ARCHIVES[LAST]
    assert server.requests == {f"{LAST}.gz": 1}


@pytest.mark.parametrize("damage", [truncate, flip, empty])
def test_a_damaged_unpacked_file_is_unpacked_again_and_that_is_said(
    damage: Callable[[bytes], bytes], folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    put_archives(folder)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    (folder / IMAGES).write_bytes(damage(CONTENTS[IMAGES]))
    assert ensure(folder) == CONTENTS
    assert contents(folder) == COMPLETE
    said = {record.getMessage() for record in messages.records}
    assert said == {f"{folder / IMAGES} was damaged; unpacked {IMAGES}.gz again"}


def test_a_damaged_archive_beside_a_sound_unpacked_file_harms_nobody(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    put_archives(folder)
    (folder / IMAGES).write_bytes(CONTENTS[IMAGES])
    (folder / f"{IMAGES}.gz").write_bytes(b"damaged")
    assert ensure(folder) == CONTENTS
    assert not messages.records


@pytest.fixture
def no_more_space() -> Iterator[None]:
    """Files can be made and not written to, by root neither."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("no_more_space")
def test_a_download_that_cannot_be_kept_is_told_and_leaves_nothing(folder: Path, serve: Any) -> None:
    with pytest.raises(DataError) as caught:
        ensure(folder, serve(good).url)
    assert str(caught.value) == f"cannot write to {folder}: File too large. {archive_files.HELP}"
    assert contents(folder) == {}


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that belongs to somebody else, whose files may be read only."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = archive_files.raw_folder(above)
        put_archives(folder)
        (folder / IMAGES).write_bytes(flip(CONTENTS[IMAGES]))
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_where_nothing_may_be_written_the_archive_is_read_and_that_is_said(
    as_nobody: Path, messages: pytest.LogCaptureFixture
) -> None:
    before = contents(as_nobody)
    assert ensure(as_nobody) == CONTENTS
    assert contents(as_nobody) == before
    (said,) = {record.getMessage() for record in messages.records}
    assert said == (
        f"{as_nobody / IMAGES} is damaged and cannot be replaced (Permission denied); read {IMAGES}.gz instead"
    )


@pytest.mark.parametrize(
    ("page", "html"), [(b"<!DOCTYPE html><HTML><title>Please log in</title>", True), (b"Sorry.", False)]
)
def test_whatever_else_a_server_sends_is_refused(folder: Path, page: bytes, html: bool, serve: Any) -> None:
    server = serve(lambda *_: [b"HTTP/1.0 200 OK\r\n\r\n", page])
    with pytest.raises(DataError, match=f"{IMAGES}.gz is not the published archive") as caught:
        ensure(folder, server.url)
    assert ("looks like a web page (HTML)" in str(caught.value)) == html
    assert "\n" not in str(caught.value)
    assert contents(folder) == {}


def test_more_than_the_largest_archive_is_not_taken(
    folder: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "LARGEST", max(map(len, ARCHIVES.values())) - 1)
    with pytest.raises(DataError, match=r"more than \d+ bytes came"):
        ensure(folder, serve(good).url)


def test_those_who_ask_at_once_download_each_file_once(folder: Path, serve: Any) -> None:
    server = serve(good)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: ensure(folder, server.url), range(4))) == [CONTENTS] * 4
    assert server.requests == {f"{name}.gz": 1 for name in CONTENTS}
    assert contents(folder) == COMPLETE


def test_import_copies_the_four_archives_and_unpacks_them(tmp_path: Path, folder: Path) -> None:
    fashion_mnist_files.import_files(put_archives(tmp_path / "source"), folder)
    assert contents(folder) == COMPLETE


def test_import_repairs_damaged_files(tmp_path: Path, folder: Path) -> None:
    put_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(b"damaged")
    (folder / IMAGES).write_bytes(b"damaged")
    fashion_mnist_files.import_files(put_archives(tmp_path / "source"), folder)
    assert contents(folder) == COMPLETE


@pytest.mark.parametrize("damage", [truncate, flip, empty])
@pytest.mark.parametrize("name", CONTENTS)
def test_import_refuses_an_archive_that_is_not_the_published_one(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path, folder: Path
) -> None:
    source = put_archives(tmp_path / "source")
    (source / f"{name}.gz").write_bytes(damage(ARCHIVES[name]))
    with pytest.raises(DataError, match=f"{name}.gz is not the published archive"):
        fashion_mnist_files.import_files(source, folder)
    copied = contents(folder)
    assert {name, f"{name}.gz"}.isdisjoint(copied)
    assert copied == {path: COMPLETE[path] for path in copied}


def test_import_names_the_archive_that_does_not_exist(tmp_path: Path, folder: Path) -> None:
    source = put_archives(tmp_path / "source")
    (source / f"{LAST}.gz").unlink()
    with pytest.raises(DataError, match=f"^{source / LAST}.gz does not exist; --from needs the folder"):
        fashion_mnist_files.import_files(source, folder)
    assert {LAST, f"{LAST}.gz"}.isdisjoint(contents(folder))


@pytest.mark.parametrize("in_the_way", ["data", "data/FashionMNIST", "data/FashionMNIST/raw"])
@pytest.mark.parametrize("how", ["ensure", "import_from"])
def test_a_folder_that_cannot_be_made_is_named(how: str, in_the_way: str, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file, not a folder")
    with pytest.raises(DataError) as caught:
        ensure(folder) if how == "ensure" else fashion_mnist_files.import_files(
            put_archives(tmp_path / "source"), folder
        )
    assert str(caught.value).startswith(f"cannot write to {folder}: ")
    assert str(caught.value).endswith(archive_files.HELP)
    assert path.read_text() == "a file, not a folder"
