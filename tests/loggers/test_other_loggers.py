"""Loggers selected by configuration: which there are, and which packages they require."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from dive.config.compose import compose_resolved
from dive.errors import ConfigError
from dive.sweeps.preflight import find_problems

OPTIONAL = {"mlflow": "MLFlowLogger", "wandb": "WandbLogger"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Set whether the optional packages are installed."""
    find = importlib.util.find_spec

    def set_installed(available: bool) -> None:
        def find_spec(name: str, *rest: Any) -> Any:
            return find("dive" if available else "no_such_package") if name in OPTIONAL else find(name, *rest)

        monkeypatch.setattr(importlib.util, "find_spec", find_spec)

    return set_installed


@pytest.mark.parametrize("name", OPTIONAL)
def test_missing_package_is_a_one_line_error_with_the_install_command(
    name: str, installed: Callable[[bool], None]
) -> None:
    installed(True)
    config = compose_resolved("model=linear_regression", f"logger={name}")
    installed(False)
    target = f"dive.loggers.{OPTIONAL[name]}"
    line = f"logger.{name}._target_={target}: {name} is not installed: pip install -e '.[loggers]'"
    with pytest.raises(ConfigError) as caught:
        compose_resolved("model=linear_regression", f"logger={name}")
    assert str(caught.value) == line
    assert find_problems([("seed=0", config), ("seed=1", config)]) == [f"{line} (in seed=0 and 1 more)"]


def test_several_loggers_can_be_selected_beside_the_default_ones(installed: Callable[[bool], None]) -> None:
    installed(True)
    loggers_config = compose_resolved("logger=[csv,mlflow,wandb]", "logger.tensorboard=null")["logger"]
    assert loggers_config.keys() == {"tensorboard", "history", "console", "csv", "mlflow", "wandb"}
    assert loggers_config["tensorboard"] is None
    assert loggers_config["history"] == {"_target_": "dive.loggers.MetricsHistoryLogger"}


@pytest.mark.parametrize("name", ["csv", *OPTIONAL])
def test_each_logger_is_added_to_the_default_ones(name: str, installed: Callable[[bool], None]) -> None:
    installed(True)
    assert compose_resolved(f"logger={name}")["logger"].keys() == {"tensorboard", "history", "console", name}


@pytest.mark.parametrize("project", ["theirs/dive", "", "a b", "../x"])
def test_wandb_project_must_be_a_plain_name(project: str, installed: Callable[[bool], None]) -> None:
    installed(True)
    with pytest.raises(ConfigError, match=r"^logger\.wandb\.project=.*: must consist of letters, digits"):
        compose_resolved("logger=wandb", f"logger.wandb.project='{project}'")


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("mlflow", "tracking_uri=http://evil.example"),
        ("mlflow", "artifact_location=/tmp"),
        ("wandb", "entity=evil"),
        ("wandb", "mode=online"),
        ("wandb", "settings={base_url:evil}"),
        ("wandb", "log_model=all"),
    ],
)
def test_configuration_cannot_set_server_account_or_further_data(
    name: str, override: str, installed: Callable[[bool], None]
) -> None:
    installed(True)
    with pytest.raises(ConfigError, match=rf"^logger\.{name}\.{override.partition('=')[0]}=.*: unknown"):
        compose_resolved(f"logger={name}", f"+logger.{name}.{override}")
