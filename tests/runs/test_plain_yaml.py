"""YAML of plain data, compared with OmegaConf, which Hydra uses."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dive.runs.plain_yaml import MAX_DEPTH, MAX_VALUES, config_folder, describe_non_plain, dump_plain, load_plain

SCALARS = [
    "1e-3",
    "1E5",
    "-1.5e+10",
    ".5e3",
    "1_0e2",
    "1.",
    "0x10",
    "1e",
    "e5",
    "2024-01-01",
    "12:30:45",
    "yes",
    "on",
    "~",
    ".inf",
    ".nan",
    "1.5",
    "-7",
    "+3",
    "012",
]

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("C", "Z"), include_characters=" \n"), max_size=8)
    | st.sampled_from(SCALARS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1, max_size=4), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("text", SCALARS)
def test_scalar_is_read_as_by_hydra(text: str) -> None:
    ours, hydras = load_plain(f"a: {text}")["a"], OmegaConf.create(f"a: {text}")["a"]
    assert type(ours) is type(hydras)
    assert ours == hydras or (ours != ours and hydras != hydras)


@given(PLAIN)
def test_plain_data_round_trip_through_both_readers(value: Any) -> None:
    text = dump_plain({"a": value})
    assert load_plain(text) == {"a": value}
    if "${" not in text and "???" not in text:
        assert OmegaConf.to_container(OmegaConf.create(text)) == {"a": value}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": (1, 2)}, "a is a tuple; only mappings"),
        ({"a": [1, {2}]}, "a[1] is a set; only mappings"),
        ({"a": {"b": b"x"}}, "a.b is a bytes; only mappings"),
        ({"a": {(1, 2): 3}}, "key of a is a tuple; only mappings"),
        ({"a": Path("x")}, "a is a PosixPath; only mappings"),
        ({"a": [2**63]}, "a[0] is an integer with more than 64 bits"),
        ({"a": "x\x1b[2J"}, "a contains the control character \\x1b"),
        ({"a": {"\u202eb": 1}}, "key of a contains the control character \\u202e"),
        ([0] * MAX_VALUES, f"has more than {MAX_VALUES} values"),
    ],
)
def test_other_data_are_described(value: Any, problem: str) -> None:
    assert str(describe_non_plain(value)).startswith(problem)


def test_depth_is_limited() -> None:
    nested: Any = 0
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert describe_non_plain(nested) is None
    assert describe_non_plain([nested]) == f"is nested more than {MAX_DEPTH} levels deep"
    circular: list[Any] = []
    circular.append(circular)
    assert describe_non_plain(circular) == f"is nested more than {MAX_DEPTH} levels deep"


def test_repeated_values_are_written_without_aliases() -> None:
    shared = [1, 2]
    assert dump_plain({"a": shared, "b": shared}) == "a:\n- 1\n- 2\nb:\n- 1\n- 2\n"


def test_configuration_folder_has_one_file_and_is_removed() -> None:
    with config_folder({"seed": 0}) as folder:
        assert [path.name for path in folder.rglob("*")] == ["config.yaml"]
        assert (folder / "config.yaml").read_text() == "seed: 0\n"
        assert folder.stat().st_mode & 0o077 == 0, "private"
    assert not folder.exists()
