"""scripts/download_data.py: the files are in place and verified, or a one-line error says why not."""

import gzip
import hashlib
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dive.data import archive_files

SCRIPT = Path(__file__).parents[2] / "scripts" / "download_data.py"
CONTENTS = {name: f"content of {name}".encode() for name in archive_files.SHA256}
ARCHIVES = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
Download = Callable[..., None]


@pytest.fixture
def download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Download:
    """Run the script in an empty folder, offline."""

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("DIVE_DATA", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return run


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with four tiny archives in place of the published ones."""
    checksums = {
        name: (hashlib.sha256(ARCHIVES[f"{name}.gz"]).hexdigest(), hashlib.sha256(content).hexdigest())
        for name, content in CONTENTS.items()
    }
    monkeypatch.setattr(archive_files, "SHA256", checksums)
    folder = tmp_path / "source"
    folder.mkdir()
    for name, archive in ARCHIVES.items():
        (folder / name).write_bytes(archive)
    return folder


def error_line(download: Download, *arguments: str) -> str:
    """The error message that the script exits with."""
    with pytest.raises(SystemExit) as exit_info:
        download(*arguments)
    assert isinstance(exit_info.value.code, str)  # printed to stderr; the exit status is 1
    assert "\n" not in exit_info.value.code
    return exit_info.value.code


def files(root: Path) -> dict[str, bytes]:
    folder = root / "FashionMNIST" / "raw"
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_archives_are_imported_verified_and_extracted(
    download: Download, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    download("--from", str(source), "--root", str(tmp_path / "data"))
    assert files(tmp_path / "data") == CONTENTS | ARCHIVES
    assert (
        capsys.readouterr().out == f"Fashion-MNIST is in {tmp_path}/data/FashionMNIST/raw; checksums verified.\n"
    )


def test_default_folder_is_data(download: Download, source: Path) -> None:
    download("--from", str(source))
    assert files(Path("data")) == CONTENTS | ARCHIVES


def test_files_go_to_the_folder_that_training_reads(
    download: Download, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIVE_DATA", str(tmp_path / "shared"))
    download("--from", str(source))
    assert files(tmp_path / "shared") == CONTENTS | ARCHIVES
    assert not Path("data").exists()


def test_existing_files_need_no_network(
    download: Download, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        download("--from", str(source), "--root", str(tmp_path))
    download("--root", str(tmp_path))
    assert capsys.readouterr().out.count("verified.\n") == 3


def test_wrong_archive_is_an_error_that_names_it(download: Download, source: Path, tmp_path: Path) -> None:
    (source / "t10k-images-idx3-ubyte.gz").write_bytes(b"something else")
    message = error_line(download, "--from", str(source), "--root", str(tmp_path))
    assert "t10k-images-idx3-ubyte.gz: t10k-images-idx3-ubyte.gz is not the published archive: " in message
    assert "t10k-images-idx3-ubyte.gz" not in files(tmp_path)


def test_folder_without_archives_is_an_error_that_names_it(download: Download, tmp_path: Path) -> None:
    message = error_line(download, "--from", str(tmp_path / "nothing"), "--root", str(tmp_path))
    assert message.startswith(
        f"error: {tmp_path}/nothing/train-images-idx3-ubyte.gz does not exist; --from needs "
    )


def test_download_error_names_cause_folder_and_help(download: Download, tmp_path: Path) -> None:
    message = error_line(download, "--root", str(tmp_path))
    assert message.startswith(f"error: Fashion-MNIST is not in {tmp_path}/FashionMNIST/raw: ")
    assert "Connection refused" in message
    assert message.endswith(archive_files.HELP)


def test_unwritable_folder_is_an_error_that_names_it(download: Download, source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    message = error_line(download, "--from", str(source), "--root", str(tmp_path / "file"))
    assert message.startswith(f"error: cannot write to {tmp_path}/file/FashionMNIST/raw: ")


def test_unknown_argument_is_an_error(download: Download, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        download("--form", "x")
    assert exit_info.value.code == 2
    assert "--from" in capsys.readouterr().err


def test_published_archives_are_accepted(real_data: Path, download: Download, tmp_path: Path) -> None:
    download("--from", str(archive_files.raw_folder(real_data)), "--root", str(tmp_path))
    imported = files(tmp_path)
    assert set(imported) == {ending for name in archive_files.SHA256 for ending in (name, f"{name}.gz")}
    for name, (archive, content) in archive_files.SHA256.items():
        assert hashlib.sha256(imported[f"{name}.gz"]).hexdigest() == archive
        assert hashlib.sha256(imported[name]).hexdigest() == content
