"""Parsing of overrides, and the archive of old runs."""

from pathlib import Path

import pytest

from dive.sweeps.job import archive_path, archive_run, overrides_by_key


@pytest.mark.parametrize(
    ("override", "pair"),
    [
        ("a=b=c", ("a", "b=c")),
        ("++a.b=1", ("a.b", "1")),
        ("~a.b=1", ("a.b", "1")),
        ("~a", ("a", "")),
        ("a=", ("a", "")),
        ("a='x=y, z'", ("a", "'x=y, z'")),
    ],
)
def test_override_is_split_into_key_and_value(override: str, pair: tuple[str, str]) -> None:
    assert overrides_by_key([override]) == dict([pair])


def test_last_override_of_a_key_wins() -> None:
    assert overrides_by_key(["seed=1", "seed=2"]) == {"seed": "2"}


def test_archived_run_keeps_its_files_under_a_new_number(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "seed=1").mkdir()
        (tmp_path / "seed=1" / "weights").write_text(content)
        archive_run(tmp_path / "seed=1")
    archived = {path.parent.name: path.read_text() for path in (tmp_path / ".earlier").glob("*/weights")}
    assert archived == {"seed=1.1": "first", "seed=1.2": "second"}
    assert archive_path(tmp_path / "seed=1").name == "seed=1.3"
