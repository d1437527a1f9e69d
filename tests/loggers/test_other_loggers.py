"""Loggers that are chosen by configuration: which there are, and what they need."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dive import loggers
from dive.config.compose import compose_resolved
from dive.errors import ConfigError
from dive.sweeps.preflight import find_problems

OTHERS = {"mlflow": "MLFlow", "wandb": "WandB"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Say whether the optional packages are there."""
    find = importlib.util.find_spec

    def say(there: bool) -> None:
        def find_spec(name: str, *rest: Any) -> Any:
            return find("dive" if there else "no_such_package") if name in OTHERS else find(name, *rest)

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)

    return say


@pytest.mark.parametrize("name", OTHERS)
def test_without_its_package_a_logger_is_one_line_that_says_what_to_install(
    name: str, installed: Callable[[bool], None]
) -> None:
    installed(True)
    config = compose_resolved("model=linear_regression", f"logger={name}")
    installed(False)
    line = (
        f"logger.{name}._target_=dive.loggers.{OTHERS[name]}: {name} is not installed: pip install -e '.[loggers]'"
    )
    with pytest.raises(ConfigError) as told:
        compose_resolved("model=linear_regression", f"logger={name}")
    assert str(told.value) == line
    assert find_problems([("seed=0", config), ("seed=1", config)]) == [f"{line} (in seed=0 and 1 more)"]


def test_several_are_chosen_by_a_list_and_the_default_ones_stay(installed: Callable[[bool], None]) -> None:
    installed(True)
    chosen = compose_resolved("logger=[csv,mlflow,wandb]", "logger.tensorboard=null")["logger"]
    assert chosen.keys() == {"tensorboard", "history", "console", "csv", "mlflow", "wandb"}
    assert chosen["tensorboard"] is None
    assert chosen["history"] == {"_target_": "dive.loggers.MetricsHistoryLogger"}


@pytest.mark.parametrize("name", ["csv", *OTHERS])
def test_each_comes_with_the_default_ones(name: str, installed: Callable[[bool], None]) -> None:
    installed(True)
    assert compose_resolved(f"logger={name}")["logger"].keys() == {"tensorboard", "history", "console", name}


@pytest.mark.parametrize("project", ["theirs/dive", "", "a b", "../x"])
def test_a_project_is_a_name_and_not_somebody_else_s(project: str, installed: Callable[[bool], None]) -> None:
    installed(True)
    with pytest.raises(ConfigError, match=r"^logger\.wandb\.project=.*: must consist of letters, digits"):
        compose_resolved("logger=wandb", f"logger.wandb.project='{project}'")


@pytest.mark.parametrize(
    "words",
    [
        ("mlflow", "tracking_uri=http://evil.example"),
        ("mlflow", "artifact_location=/tmp"),
        ("wandb", "entity=evil"),
        ("wandb", "mode=online"),
        ("wandb", "settings={base_url:evil}"),
        ("wandb", "log_model=all"),
    ],
)
def test_a_configuration_cannot_say_where_to_send_or_what_else(
    words: tuple[str, str], installed: Callable[[bool], None]
) -> None:
    installed(True)
    name, override = words
    with pytest.raises(ConfigError, match=rf"^logger\.{name}\.{override.partition('=')[0]}=.*: unknown"):
        compose_resolved(f"logger={name}", f"+logger.{name}.{override}")


def test_they_are_not_imported_until_they_log() -> None:
    code = "import sys, dive.training.fit; print({'mlflow', 'wandb'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "set()\n"
    assert {*OTHERS.values()} <= set(loggers.__all__)
