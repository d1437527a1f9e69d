"""Names of jobs: from what varies, safe as the name of a directory, one for each job."""

import itertools
import re
from pathlib import Path

import pytest

from dive.config.naming import MAX_NAME_LENGTH, job_defining_overrides, job_name

NASTY = [
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


@pytest.mark.parametrize("value", NASTY, ids=range(len(NASTY)))
def test_a_name_is_one_directory_in_that_of_the_sweep(value: str, tmp_path: Path) -> None:
    name = job_name({"data.root": value}, {"data.root"})
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert re.fullmatch(r"[A-Za-z0-9_.,=+\-\[\]~]+", name)
    assert not name.startswith((".", "-", "~"))
    assert len(name.encode()) <= MAX_NAME_LENGTH


def test_different_overrides_have_different_names() -> None:
    names = [job_name({"data.root": value}, {"data.root"}) for value in NASTY]
    assert len(set(names)) == len(NASTY)


def test_names_differ_on_a_file_system_that_ignores_case_where_they_were_changed() -> None:
    names = [job_name({"data.root": value}, {"data.root"}) for value in ("A/b", "a/B")]
    assert names[0].lower() != names[1].lower()


def test_the_order_of_the_overrides_does_not_matter() -> None:
    overrides = {"model": "mlp", "optimizer.lr": "0.1", "data.root": "../x", "seed": "0"}
    names = {job_name(dict(order), overrides) for order in itertools.permutations(overrides.items())}
    assert len(names) == 1


def test_only_what_varies_makes_the_name() -> None:
    overrides = {"trainer": "cpu", "seed": "1", "model": "mlp"}
    assert job_name(overrides, {"model", "seed"}) == "model=mlp,seed=1"
    assert job_name(overrides | {"trainer": "../gpu"}, {"model", "seed"}) == "model=mlp,seed=1"


@pytest.mark.parametrize("varied", [set(), {"optimizer.lr"}])
def test_where_nothing_varies_all_overrides_make_the_name(varied: set[str]) -> None:
    assert job_name({"trainer": "cpu", "model": "mlp"}, varied) == "model=mlp,trainer=cpu"


def test_a_job_without_overrides_has_a_name() -> None:
    assert job_name({}, {"seed"}) == "default"


def test_a_name_of_the_greatest_length_stays_as_it_is() -> None:
    longest = "x" * (MAX_NAME_LENGTH - len("a="))
    assert job_name({"a": longest}, {"a"}) == f"a={longest}"
    cut = job_name({"a": longest + "x"}, {"a"})
    assert len(cut) == MAX_NAME_LENGTH
    assert cut.startswith("a=xxx")
    assert "~" in cut


@pytest.mark.parametrize(
    "word",
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
def test_how_a_sweep_is_run_does_not_belong_to_a_job(word: str) -> None:
    assert job_defining_overrides(["model=mlp", word, "seed=1"]) == ("model=mlp", "seed=1")


@pytest.mark.parametrize(
    "word", ["model=mlp", "+data.crop=3", "~scheduler", "sweeps=1", "resumed=1", "data.sweep=1", "a=launcher=b"]
)
def test_what_a_job_is_belongs_to_it(word: str) -> None:
    assert job_defining_overrides([word]) == (word,)
