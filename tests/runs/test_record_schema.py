"""Records in JSON: what they may contain, and one line for everything else."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dive.errors import CorruptRecordError
from dive.runs.provenance import environment
from dive.runs.record_schema import EnvironmentRecord, ManifestRecord, ResultRecord, read_json, read_text

FINISHED = {
    "status": "finished",
    "data_crc32": {"train": "01"},
    "score": 0.5,
    "best_epoch": 3,
    "metrics": {"best": {"val/acc": 0.5, "val/loss": None}, "final": {}},
    "peak_memory_mb": {"cpu": 1},
}


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "result.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_valid_record_is_returned_without_unknown_keys(tmp_path: Path) -> None:
    assert read_json(write(tmp_path, json.dumps(FINISHED | {"later": 1})), ResultRecord) == FINISHED


def test_environment_of_this_process_is_valid(tmp_path: Path) -> None:
    recorded = environment()
    assert read_json(write(tmp_path, json.dumps(recorded)), EnvironmentRecord) == recorded


@pytest.mark.parametrize(
    "changed",
    [
        {"status": "done"},
        {"status": None},
        {"score": "0.5"},
        {"score": [1]},
        {"best_epoch": 1.5},
        {"metrics": []},
        {"metrics": {"best": 3}},
        {"metrics": {"best": {"val/acc": "1"}}},
        {"metrics": {"worst": {}}},
        {"data_crc32": {"train": 3}},
        {"error": {"a": 1}},
        {"monitor": 3},
        {"mode": "up"},
    ],
)
def test_value_of_another_type_is_corrupt(changed: dict[str, Any], tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(FINISHED | changed))
    with pytest.raises(CorruptRecordError) as caught:
        read_json(path, ResultRecord)
    assert str(caught.value).startswith(f"{path} is corrupt: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"status": "finished", "score": NaN}',
        b'{"status": "finished", "score": 1e999}',
        b'{"status": "finished", "score": ' + b"1" * 5000 + b"}",
        b"[" * 100_000,
        b'{"status": "finished"} {}',
    ],
)
def test_other_content_is_corrupt(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(CorruptRecordError, match="is corrupt: "):
        read_json(write(tmp_path, text), ResultRecord)


def test_folder_pipe_and_huge_file_are_corrupt(tmp_path: Path) -> None:
    for name in ("folder", "pipe", "huge"):
        path = tmp_path / name
        path.mkdir() if name == "folder" else os.mkfifo(path) if name == "pipe" else path.touch()
        if name == "huge":
            os.truncate(path, 2**24 + 1)
        with pytest.raises(CorruptRecordError, match=r"it is not a file|more than"):
            read_text(path)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "nowhere")


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    record = FINISHED | {"error": "a\x1b[2J\nb", "metrics": {"best": {"val\x07": 1.0}}}
    loaded = read_json(write(tmp_path, json.dumps(record)), ResultRecord)
    assert loaded["error"] == "a\\x1b[2J\nb"
    assert loaded["metrics"] == {"best": {"val\\x07": 1.0}}


@pytest.mark.parametrize(
    "manifest",
    [
        {"varied": [], "jobs": {"a": {"number": 0}}},
        {"varied": "seed", "jobs": {}},
        {"varied": [], "jobs": []},
        {"varied": [3], "jobs": {}},
        {"varied": [], "jobs": {"a": {"number": "0", "overrides": []}}},
        {"varied": [], "jobs": {"a": {"number": 0, "overrides": "x"}}},
        {"varied": []},
    ],
)
def test_manifest_of_another_shape_is_corrupt(manifest: Any, tmp_path: Path) -> None:
    with pytest.raises(CorruptRecordError, match="is corrupt: "):
        read_json(write(tmp_path, json.dumps(manifest)), ManifestRecord)
