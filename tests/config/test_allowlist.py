"""The allow-list of what a configuration may build; only the repository's pyproject.toml extends it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dive.config import allowlist
from dive.config.allowlist import project_allowlist, resolve_target
from dive.config.groups import CONFIG_DIR
from dive.config.validation import validate_config
from dive.errors import ConfigError


def targets(node: Any) -> list[str]:
    """Every `_target_` below a node."""
    if isinstance(node, list):
        return [path for item in node for path in targets(item)]
    if not isinstance(node, dict):
        return []
    return [path for key, item in node.items() for path in ([item] if key == "_target_" else targets(item))]


def project(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "path",
    sorted(
        {
            t
            for file in CONFIG_DIR.rglob("*.yaml")
            if "hydra" not in str(file.relative_to(CONFIG_DIR)) and file.parent.name != "launcher"
            for t in targets(yaml.safe_load(file.read_text()))
        }
    ),
)
def test_every_target_in_conf_is_allowed(path: str) -> None:
    assert callable(resolve_target(path))


@pytest.mark.parametrize(
    "path",
    [
        "dive.runs.atomic_io.atomic_write",
        "dive.sweeps.launchers.process_pool.run_jobs",
        "dive.runs.provenance.environment",
        "dive.sweeps.launchers.slurm.Path",
        "dive.config.compose.compose_config",
        "dive.data.fashion_mnist_files.import_files",
        "dive.loggers.history.plot_curves",
        "dive.callbacks.best_checkpoint.Path",
        "dive.tasks.optim.split_weight_decay_params",
        "dive.tasks.losses.torch.load",
        "torch.nn.init.normal_",
        "torch.nn.utils.clip_grad_norm_",
        "torch.nn.Module.apply",
        "torch.nn.functional.importlib",
        "torch.nn.functional.handle_torch_function",
        "torch.nn.modules._functions.SyncBatchNorm",
        "torch.optim.optimizer._use_grad_for_differentiable",
        "pytorch_lightning.Trainer",
        "pytorch_lightning.seed_everything",
        "pytorch_lightning.loggers.WandbLogger",
        "pytorch_lightning.strategies.DDPStrategy",
        "pytorch_lightning.plugins.TorchCheckpointIO",
        "pytorch_lightning.callbacks.model_checkpoint.get_filesystem",
        "pytorch_lightning.profilers.profiler.Path",
        "torchmetrics.Accuracy",
    ],
)
def test_target_with_side_effects_is_not_allowed(path: str) -> None:
    with pytest.raises(ConfigError, match=r"allowed targets are classes in|does not exist"):
        resolve_target(path)


@pytest.mark.parametrize("path", [None, 3, True, ["dive.models.MLP"], {"_target_": "dive.models.MLP"}])
def test_target_must_be_a_string(path: object) -> None:
    with pytest.raises(ConfigError, match=r"^not allowed; "):
        resolve_target(path)


@pytest.mark.parametrize("text", ["", "[tool.other]\n", "[tool.dive]\n", "[tool.dive]\nallowed = []\n"])
def test_nothing_is_added_without_an_entry(text: str, tmp_path: Path) -> None:
    assert project_allowlist(project(tmp_path, text)) == ()


def test_nothing_is_added_without_pyproject(tmp_path: Path) -> None:
    assert project_allowlist(tmp_path / "pyproject.toml") == ()


@pytest.mark.parametrize(
    "entry", ['"our_team"', '"."', '"our_team.."', '"_ours."', '"our team."', '""', "3", "['a.']"]
)
def test_entry_must_be_a_package_name_and_a_dot(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project(tmp_path, f"[tool.dive]\nallowed = ['fine.', {entry}]\n")
    monkeypatch.setattr("dive.config.validation.PYPROJECT", path)
    with pytest.raises(ConfigError) as caught:
        validate_config({"model": {"_target_": "dive.models.MLP"}})
    assert str(caught.value).startswith(f"{path}: tool.dive.allowed: ")
    assert str(caught.value).endswith(": must be a package name and a dot, such as 'mypackage.'")


def test_entries_must_be_a_list(tmp_path: Path) -> None:
    path = project(tmp_path, "[tool.dive]\nallowed = 'our_team.'\n")
    with pytest.raises(ConfigError, match=r"tool\.dive\.allowed='our_team\.': must be a list"):
        project_allowlist(path)


def test_invalid_pyproject_is_named(tmp_path: Path) -> None:
    path = project(tmp_path, "[tool.dive\n")
    with pytest.raises(ConfigError, match=f"^{path}: "):
        project_allowlist(path)


def test_project_can_allow_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_team.py").write_text("import os\ndef model(width: int): ...\n")
    monkeypatch.setattr(sys, "path", [*sys.path])  # the folder of pyproject.toml is added to it
    monkeypatch.setattr(allowlist, "PYPROJECT", project(tmp_path, "[tool.dive]\nallowed = ['our_team.']\n"))
    monkeypatch.delitem(sys.modules, "our_team", raising=False)
    validate_config({"model": {"_target_": "our_team.model", "width": 3}})
    with pytest.raises(ConfigError, match=r"^model\.width=w: must be an integer$"):
        validate_config({"model": {"_target_": "our_team.model", "width": "w"}})
    for path in ("our_team._model", "our_team.os", "our_teams.model"):
        with pytest.raises(ConfigError, match=r"allowed targets are classes in .*, and everything in our_team"):
            resolve_target(path)


@pytest.mark.parametrize("key", ["allowed", "tool", "dive"])
def test_configuration_cannot_extend_the_allowlist(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^model\._target_=os\.system: not allowed"):
        validate_config(
            {key: {"dive": {"allowed": ["os."]}, "allowed": ["os."]}, "model": {"_target_": "os.system"}}
        )
