"""Download, repair and import of the Fashion-MNIST files, all atomic."""

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
    empty,
    flip_byte,
    read_files,
    truncate,
    write_archives,
)

from dive.data import archive_files, fashion_mnist_files
from dive.errors import DataError

pytestmark = pytest.mark.usefixtures("small_archives")


def valid_response(name: str, pause: Any) -> Iterable[bytes]:
    """The response of a working mirror."""
    yield b"HTTP/1.0 200 OK\r\n\r\n"
    pause(0.02)
    yield ARCHIVES[name.removesuffix(".gz")]


UNREACHABLE = "http://127.0.0.1:9/"


def ensure_downloaded(folder: Path, mirror: str = UNREACHABLE) -> dict[str, bytes]:
    return fashion_mnist_files.ensure_downloaded(folder, mirror, 5)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to local servers directly."""
    monkeypatch.setenv("no_proxy", "*")


def test_existing_files_are_verified_without_download_or_write(folder: Path) -> None:
    write_archives(folder)
    assert ensure_downloaded(folder) == CONTENTS
    assert {path.name for path in folder.iterdir()} == {f"{name}.gz" for name in CONTENTS}


def test_without_network_the_error_names_cause_folder_and_commands(folder: Path) -> None:
    with pytest.raises(DataError) as caught:
        ensure_downloaded(folder)
    message = str(caught.value)
    assert f"Fashion-MNIST is not in {folder}: {IMAGES}.gz is missing." in message
    assert f"The download failed: {UNREACHABLE}{IMAGES}.gz: Connection refused." in message
    assert "`python scripts/download_data.py --from DIR`" in message
    assert "`data=garments`" in message
    assert message.count("python scripts/download_data.py") == 1
    assert "\n" not in message
    assert read_files(folder) == {}


def test_without_network_the_error_says_damaged_instead_of_missing(folder: Path) -> None:
    write_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match="The download failed: ") as caught:
        ensure_downloaded(folder)
    assert str(caught.value).startswith(f"{folder / LAST}.gz is damaged: ")


@pytest.mark.parametrize("suffix", ["", "/", "/some/place/"])
def test_all_files_are_downloaded_and_unpacked(folder: Path, suffix: str, serve: Any) -> None:
    server = serve(valid_response)
    assert ensure_downloaded(folder, server.url.rstrip("/") + suffix) == CONTENTS
    assert read_files(folder) == COMPLETE
    assert server.requests == {f"{name}.gz": 1 for name in CONTENTS}


def test_only_the_damaged_archive_is_downloaded_again(folder: Path, serve: Any) -> None:
    write_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(flip_byte(ARCHIVES[LAST]))
    server = serve(valid_response)
    assert ensure_downloaded(folder, server.url) == CONTENTS
    assert (folder / f"{LAST}.gz").read_bytes() == ARCHIVES[LAST]
    assert server.requests == {f"{LAST}.gz": 1}


@pytest.mark.parametrize("damage", [truncate, flip_byte, empty])
def test_damaged_unpacked_file_is_restored_with_a_warning(
    damage: Callable[[bytes], bytes], folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    write_archives(folder)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    (folder / IMAGES).write_bytes(damage(CONTENTS[IMAGES]))
    assert ensure_downloaded(folder) == CONTENTS
    assert read_files(folder) == COMPLETE
    warnings = {record.getMessage() for record in messages.records}
    assert warnings == {f"{folder / IMAGES} was damaged; restored it from {IMAGES}.gz"}


def test_damaged_archive_beside_a_valid_unpacked_file_is_ignored(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    write_archives(folder)
    (folder / IMAGES).write_bytes(CONTENTS[IMAGES])
    (folder / f"{IMAGES}.gz").write_bytes(b"damaged")
    assert ensure_downloaded(folder) == CONTENTS
    assert not messages.records


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Files can be created but not written, even by root."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("full_disk")
def test_failed_write_of_a_download_is_reported_and_leaves_no_files(folder: Path, serve: Any) -> None:
    with pytest.raises(DataError) as caught:
        ensure_downloaded(folder, serve(valid_response).url)
    assert str(caught.value) == f"cannot write to {folder}: File too large. {archive_files.HELP}"
    assert read_files(folder) == {}


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A read-only folder of another user."""
    with tempfile.TemporaryDirectory() as above:
        Path(above).chmod(0o755)
        folder = archive_files.raw_folder(above)
        write_archives(folder)
        (folder / IMAGES).write_bytes(flip_byte(CONTENTS[IMAGES]))
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        yield folder
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_in_a_read_only_folder_the_archive_is_used_with_a_warning(
    read_only_folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    before = read_files(read_only_folder)
    assert ensure_downloaded(read_only_folder) == CONTENTS
    assert read_files(read_only_folder) == before
    (warnings,) = {record.getMessage() for record in messages.records}
    assert warnings == (
        f"{read_only_folder / IMAGES} is damaged and cannot be replaced (Permission denied); "
        f"using {IMAGES}.gz instead"
    )


@pytest.mark.parametrize(
    ("page", "html"), [(b"<!DOCTYPE html><HTML><title>Please log in</title>", True), (b"Sorry.", False)]
)
def test_responses_with_a_wrong_checksum_are_rejected(folder: Path, page: bytes, html: bool, serve: Any) -> None:
    server = serve(lambda *_: [b"HTTP/1.0 200 OK\r\n\r\n", page])
    with pytest.raises(DataError, match=f"{IMAGES}.gz is not the published archive") as caught:
        ensure_downloaded(folder, server.url)
    assert ("looks like a web page (HTML)" in str(caught.value)) == html
    assert "\n" not in str(caught.value)
    assert read_files(folder) == {}


def test_downloads_above_the_size_limit_are_rejected(
    folder: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "MAX_BYTES", max(map(len, ARCHIVES.values())) - 1)
    with pytest.raises(DataError, match=r"larger than \d+ bytes"):
        ensure_downloaded(folder, serve(valid_response).url)


def test_concurrent_calls_download_each_file_once(folder: Path, serve: Any) -> None:
    server = serve(valid_response)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: ensure_downloaded(folder, server.url), range(4))) == [CONTENTS] * 4
    assert server.requests == {f"{name}.gz": 1 for name in CONTENTS}
    assert read_files(folder) == COMPLETE


def test_import_copies_the_four_archives_and_unpacks_them(tmp_path: Path, folder: Path) -> None:
    fashion_mnist_files.import_files(write_archives(tmp_path / "source"), folder)
    assert read_files(folder) == COMPLETE


def test_import_repairs_damaged_files(tmp_path: Path, folder: Path) -> None:
    write_archives(folder)
    (folder / f"{LAST}.gz").write_bytes(b"damaged")
    (folder / IMAGES).write_bytes(b"damaged")
    fashion_mnist_files.import_files(write_archives(tmp_path / "source"), folder)
    assert read_files(folder) == COMPLETE


@pytest.mark.parametrize("damage", [truncate, flip_byte, empty])
@pytest.mark.parametrize("name", CONTENTS)
def test_import_rejects_an_archive_with_a_wrong_checksum(
    name: str, damage: Callable[[bytes], bytes], tmp_path: Path, folder: Path
) -> None:
    source = write_archives(tmp_path / "source")
    (source / f"{name}.gz").write_bytes(damage(ARCHIVES[name]))
    with pytest.raises(DataError, match=f"{name}.gz is not the published archive"):
        fashion_mnist_files.import_files(source, folder)
    copied = read_files(folder)
    assert {name, f"{name}.gz"}.isdisjoint(copied)
    assert copied == {path: COMPLETE[path] for path in copied}


def test_import_names_a_missing_archive(tmp_path: Path, folder: Path) -> None:
    source = write_archives(tmp_path / "source")
    (source / f"{LAST}.gz").unlink()
    with pytest.raises(DataError, match=f"^{source / LAST}.gz does not exist; --from needs the folder"):
        fashion_mnist_files.import_files(source, folder)
    assert {LAST, f"{LAST}.gz"}.isdisjoint(read_files(folder))


@pytest.mark.parametrize("blocked", ["data", "data/FashionMNIST", "data/FashionMNIST/raw"])
@pytest.mark.parametrize("function", ["ensure_downloaded", "import_files"])
def test_error_names_a_folder_that_cannot_be_created(
    function: str, blocked: str, tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file, not a folder")
    with pytest.raises(DataError) as caught:
        ensure_downloaded(folder) if function == "ensure_downloaded" else fashion_mnist_files.import_files(
            write_archives(tmp_path / "source"), folder
        )
    assert str(caught.value).startswith(f"cannot write to {folder}: ")
    assert str(caught.value).endswith(archive_files.HELP)
    assert path.read_text() == "a file, not a folder"
