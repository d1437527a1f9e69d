"""Job names: the overrides that vary, as unique and safe directory names."""

import itertools
import re
from pathlib import Path

import pytest

from dive.config.naming import MAX_NAME_LENGTH, job_defining_overrides, job_name

UNSAFE_VALUES = [
    "../x",
    "..",
    "/etc/passwd",
    "a/b",
    "a:b",
    "a_b",
    "a b",
    "a  b",
    "'a b'",
    '"a b"',
    "{a:1,b:2}",
    "{a:1,b:3}",
    "a\nb",
    "a\tb",
    "a\0b",
    "a\\b",
    "äöü",
    "äöa",
    "日本",
    "*",
    "?",
    "$HOME",
    "`ls`",
    "~",
    "a|b",
    "<a>",
    "",
    ".",
    "[1,2]",
    "1e-05",
    "a,b=2",
    "x" * 300,
    "x" * 301,
    "x" * 300 + "y",
    "x" * 5000,
    "ü" * 300,
]


@pytest.mark.parametrize("value", UNSAFE_VALUES, ids=range(len(UNSAFE_VALUES)))
def test_job_name_is_one_directory_inside_the_sweep(value: str, tmp_path: Path) -> None:
    name = job_name({"data.root": value}, {"data.root"})
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert re.fullmatch(r"[A-Za-z0-9_.,=+\-\[\]~]+", name)
    assert not name.startswith((".", "-", "~"))
    assert len(name.encode()) <= MAX_NAME_LENGTH


def test_different_overrides_have_different_names() -> None:
    names = [job_name({"data.root": value}, {"data.root"}) for value in UNSAFE_VALUES]
    assert len(set(names)) == len(UNSAFE_VALUES)


def test_sanitized_names_differ_on_a_case_insensitive_file_system() -> None:
    names = [job_name({"data.root": value}, {"data.root"}) for value in ("A/b", "a/B")]
    assert names[0].lower() != names[1].lower()


def test_order_of_overrides_does_not_matter() -> None:
    overrides = {"model": "mlp", "optimizer.lr": "0.1", "data.root": "../x", "seed": "0"}
    names = {job_name(dict(order), overrides) for order in itertools.permutations(overrides.items())}
    assert len(names) == 1


def test_only_varied_keys_are_in_the_name() -> None:
    overrides = {"trainer": "cpu", "seed": "1", "model": "mlp"}
    assert job_name(overrides, {"model", "seed"}) == "model=mlp,seed=1"
    assert job_name(overrides | {"trainer": "../gpu"}, {"model", "seed"}) == "model=mlp,seed=1"


@pytest.mark.parametrize("varied", [set(), {"optimizer.lr"}])
def test_all_overrides_are_in_the_name_if_nothing_varies(varied: set[str]) -> None:
    assert job_name({"trainer": "cpu", "model": "mlp"}, varied) == "model=mlp,trainer=cpu"


def test_job_without_overrides_has_a_name() -> None:
    assert job_name({}, {"seed"}) == "default"


def test_name_of_maximum_length_is_not_truncated() -> None:
    longest = "x" * (MAX_NAME_LENGTH - len("a="))
    assert job_name({"a": longest}, {"a"}) == f"a={longest}"
    truncated = job_name({"a": longest + "x"}, {"a"})
    assert len(truncated) == MAX_NAME_LENGTH
    assert truncated.startswith("a=xxx")
    assert "~" in truncated


@pytest.mark.parametrize(
    "override",
    [
        "hydra.sweep.dir=x",
        "hydra/launcher=joblib",
        "+hydra/sweeper=optuna",
        "++hydra.launcher.max_workers=2",
        "launcher=parallel",
        "launcher.max_workers=2",
        "sweeper=optuna",
        "sweeper.n_trials=3",
        "sweep=lr",
        "resume=null",
        "~launcher.max_workers=2",
    ],
)
def test_sweep_level_overrides_do_not_define_a_job(override: str) -> None:
    assert job_defining_overrides(["model=mlp", override, "seed=1"]) == ("model=mlp", "seed=1")


@pytest.mark.parametrize(
    "override",
    ["model=mlp", "+data.crop=3", "~scheduler", "sweeps=1", "resumed=1", "data.sweep=1", "a=launcher=b"],
)
def test_job_level_overrides_define_a_job(override: str) -> None:
    assert job_defining_overrides([override]) == (override,)
