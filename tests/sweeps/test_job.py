"""A job is named by its directory, and its overrides are told apart."""

from pathlib import Path

import pytest

from dive.sweeps.job import Job, archive_path, archive_run, overrides_by_key


def test_a_job_is_named_by_its_directory() -> None:
    assert Job(3, ("seed=1",), {}, Path("multirun/lr/seed=1")).name == "seed=1"


@pytest.mark.parametrize(
    ("word", "pair"),
    [
        ("a=b=c", ("a", "b=c")),
        ("++a.b=1", ("a.b", "1")),
        ("~a.b=1", ("a.b", "1")),
        ("~a", ("a", "")),
        ("a=", ("a", "")),
        ("a='x=y, z'", ("a", "'x=y, z'")),
    ],
)
def test_an_override_is_a_key_and_a_value(word: str, pair: tuple[str, str]) -> None:
    assert overrides_by_key([word]) == dict([pair])


def test_of_a_key_that_was_typed_twice_the_last_counts_as_it_does_for_hydra() -> None:
    assert overrides_by_key(["seed=1", "seed=2"]) == {"seed": "2"}


def test_what_makes_room_keeps_its_files_and_its_number_is_new(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "seed=1").mkdir()
        (tmp_path / "seed=1" / "weights").write_text(content)
        archive_run(tmp_path / "seed=1")
    kept = {path.parent.name: path.read_text() for path in (tmp_path / ".earlier").glob("*/weights")}
    assert kept == {"seed=1.1": "first", "seed=1.2": "second"}
    assert archive_path(tmp_path / "seed=1").name == "seed=1.3"
