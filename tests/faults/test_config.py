"""Hostile and invalid configurations: rejected before anything is called, loaded or written."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra.utils
import pytest
import yaml

from dive.config.compose import compose_resolved
from dive.data import FashionMNISTDataModule

ROOT = Path(__file__).parents[2]
FEW = (
    "model=mlp",
    "model.num_hiddens=[8]",
    "data=garments",
    "data.num_train=64",
    "data.num_test=32",
    "data.val_size=32",
    "trainer=cpu",
    "trainer.max_epochs=1",
)

CHECKPOINT = "pytorch_lightning.callbacks.ModelCheckpoint"
PROFILER = "pytorch_lightning.profilers.SimpleProfiler"

Rejected = Callable[..., str]
Outcome = Callable[[str], None]

# Hostile targets and their arguments.
HOSTILE: dict[str, dict[str, Any]] = {
    "os.system": {"command": "touch canary"},
    "dive.runs.provenance.subprocess.run": {"args": ["touch", "canary"]},
    "dive.tasks.losses.torch.save": {"obj": 1, "f": "canary"},
    "functools.partial": {"_args_": ["os.system", "touch canary"]},
    "hydra.utils.instantiate": {"config": {"_target_": "torch.save", "obj": 1, "f": "canary"}},
    "os.environ.setdefault": {"key": "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE", "default": "os.system"},
    "hydra._internal.target_policy.DEFAULT_BLOCKLISTED_MODULES.difference": {"_args_": [["os.remove"]]},
    "dive.runs.atomic_io.atomic_write": {"path": "canary", "content": "written"},
    "dive.sweeps.launchers.process_pool.run_jobs": {"jobs": [], "workers": 1, "threads": 1},
    "torch.nn.Module.apply": {"fn": {"_target_": "torch.nn.ReLU"}},
    "torch.load": {"f": "canary"},
    "torch.save": {"obj": 1, "f": "canary"},
    "pytorch_lightning.loggers.WandbLogger": {"project": "theirs"},
}


@pytest.fixture(autouse=True)
def temporary_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write to a temporary folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rejected(monkeypatch: pytest.MonkeyPatch) -> Rejected:
    """Run train.py in this process, expect exit status 1, and return the message, one line per mistake."""

    def run(*overrides: str) -> str:
        monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        lines = str(caught.value.code)  # sys.exit prints a string and exits with status 1
        assert lines.startswith("error: "), lines
        return lines.removeprefix("error: ")

    return run


@pytest.fixture
def nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if Hydra instantiates anything."""
    monkeypatch.setattr(
        "dive.training.instantiate.instantiate", lambda *_, **__: pytest.fail("something was instantiated")
    )


def recorded(folder: Path, config: dict[str, Any]) -> Path:
    """A run directory from an untrusted source."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def places(evil: dict[str, Any]) -> list[dict[str, Any]]:
    """Configurations that contain a mapping in different places."""
    config = compose_resolved(*FEW)
    return [
        config | {"model": evil},
        config | {"note": [[{"deep": [evil]}]]},
        config | {"callbacks": config["callbacks"] | {"best": evil}},
        config | {"task": config["task"] | {"loss": evil}},
        config
        | {"trainer": config["trainer"] | {"profiler": {"_target_": "dive.models.MLP", "num_hiddens": evil}}},
    ]


def shorten(line: str) -> str:
    """Remove the list of allowed names."""
    return line.partition("; the allowed targets are")[0]


def test_payload_works(tmp_path: Path) -> None:
    hydra.utils.instantiate({"_target_": "torch.save", **HOSTILE["torch.save"]})
    assert (tmp_path / "canary").exists()


@pytest.mark.usefixtures("nothing_is_called")
@pytest.mark.fault(
    6, "configuration that names os.system and similar", "`model={_target_: os.system, ...}` on the command line"
)
def test_hostile_target_on_the_command_line_is_not_called(
    rejected: Rejected, outcome: Outcome, tmp_path: Path
) -> None:
    lines = {}
    for target, arguments in HOSTILE.items():
        overrides = [
            f"++model.{key}={json.dumps(value)}" for key, value in arguments.items() if not isinstance(value, dict)
        ]
        lines[target] = rejected(*FEW[2:], f"model._target_={target}", *overrides).splitlines()[-1]
        assert lines[target].startswith(f"model._target_={target}: ")
    nested = ",".join(f"{{_target_: {target}}}" for target in HOSTILE)
    listed = rejected(*FEW, f"+note=[[{nested}]]").splitlines()
    for i, (line, target) in enumerate(zip(listed, HOSTILE, strict=True)):
        assert line.startswith(f"note[0][{i}]._target_={target}: ")
    assert not list(tmp_path.rglob("canary"))
    others = ", ".join(f"`{target}`" for target in HOSTILE if target != "os.system")
    outcome(f"`{shorten(lines['os.system'])}`: rejected before any call, and so are {others}")


@pytest.mark.usefixtures("nothing_is_called")
@pytest.mark.fault(
    6, "config.yaml of an untrusted run that names os.system and similar", "`resume=DIR` of such a run"
)
def test_hostile_target_in_config_yaml_is_not_called(rejected: Rejected, outcome: Outcome, tmp_path: Path) -> None:
    for i, (target, arguments) in enumerate(HOSTILE.items()):
        configs = places({"_target_": target, **arguments})
        run = recorded(tmp_path / str(i), configs[i % len(configs)])
        assert f"_target_={target}: " in rejected(f"resume={run}")
        assert sorted(path.name for path in run.rglob("*")) == ["checkpoints", "config.yaml", "last.ckpt"]
    assert not list(tmp_path.rglob("canary"))
    outcome("rejected before any call, as a model, callback, loss, argument, or in nested lists")


@pytest.mark.fault(
    6, "config.yaml of an untrusted run that names os.system and similar", "`python train.py resume=DIR`"
)
def test_hostile_run_is_not_resumed_by_the_command(outcome: Outcome, tmp_path: Path) -> None:
    config = compose_resolved(*FEW)
    config["callbacks"]["terminate_on_non_finite"] = {"_target_": "torch.save", **HOSTILE["torch.save"]}
    run = recorded(tmp_path / "theirs", config)
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", f"resume={run}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.rglob("canary"))
    outcome(f"`{shorten(done.stderr.strip())}`: exit status 1, nothing called")


@pytest.mark.fault(
    6, "config.yaml of an untrusted run with Hydra directives", "keys `hydra`, `defaults`; `# @package`; links"
)
def test_config_yaml_with_hydra_directives_is_rejected(
    rejected: Rejected, outcome: Outcome, tmp_path: Path
) -> None:
    callback = {"callbacks": {"x": {"_target_": "torch.save", **HOSTILE["torch.save"]}}}
    for i, (text, message) in enumerate(
        [
            (
                yaml.safe_dump(compose_resolved(*FEW) | {"hydra": callback}),
                "contains hydra: it is not the recorded",
            ),
            (
                yaml.safe_dump({"defaults": [{"hydra/launcher": "evil"}]}),
                "contains defaults: it is not the recorded",
            ),
            (
                "# @package hydra\n" + yaml.safe_dump(callback | {"resume": None}),
                "_target_=torch.save: not allowed",
            ),
        ]
    ):
        run = recorded(tmp_path / str(i), {})
        (run / "config.yaml").write_text(text)
        assert message in rejected(f"resume={run}")
    run = recorded(tmp_path / "linked", compose_resolved(*FEW))
    (run / "train.log").symlink_to(tmp_path / "profile")
    assert f"train.log is a symbolic link; {run} may contain only" in rejected(f"resume={run}")
    assert not (tmp_path / "profile").exists()
    assert not list(tmp_path.rglob("canary"))
    outcome(
        "`config.yaml contains hydra: it is not the recorded configuration of a run`, "
        "`... is a symbolic link; ... may contain only files and folders`"
    )


@pytest.mark.usefixtures("nothing_is_called")
@pytest.mark.fault(
    6, "configuration that writes to other directories or runs a compiler", "arguments of allowed classes"
)
def test_allowed_class_cannot_reach_outside_the_run(rejected: Rejected, outcome: Outcome) -> None:
    overrides = {
        f"+callbacks.more={{_target_:{CHECKPOINT},filename:../../canary}}": "must be a plain file name",
        f"trainer.profiler={{_target_:{PROFILER},dirpath:/tmp}}": "must be null",
        "trainer.compile={options:{cpp.cxx:evil}}": "must be omitted: it can name programs to execute",
    }
    for override, message in overrides.items():
        assert message in rejected(*FEW, override)
    outcome("; ".join(f"`{override}` {message}" for override, message in overrides.items()))


# Overrides and the beginning of their message.
MISTAKES = {
    "optimizer.lrr=0.1": "optimizer.lrr: unknown; did you mean 'lr'?",
    "+model.num_hidden=[8]": "model.num_hidden=[8]: unknown; did you mean 'num_hiddens'?",
    "optimiser.lr=0.1": "optimiser: unknown; did you mean 'optimizer'?",
    "model.num_hiddens=many": "model.num_hiddens=many: must be a list of integers",
    "model.dropout=[1]": "model.dropout=[1]: must be a number in [0, 1)",
    "optimizer.lr=-1": "optimizer.lr=-1: must be a number in (0, inf)",
    "data.batch_size=0": "data.batch_size=0: must be an integer of at least 1",
    "data.seed=???": "data.seed: missing mandatory value; set data.seed=...",
    "model.activation=???": "model.activation: missing mandatory value; set model.activation=...",
    "optimizer=sdg": "optimizer=sdg: unknown; did you mean 'sgd'?",
    "model.activation=rleu": "model: unknown activation 'rleu'; choose from",
    "monitor=val/accuracy": "monitor=val/accuracy: unknown; did you mean 'val/acc'?",
}


@pytest.mark.parametrize(
    "override",
    [
        pytest.param(override, marks=pytest.mark.fault(21, "mistake in a command", f"`{override}`"))
        for override in MISTAKES
    ],
)
def test_mistake_is_reported_before_data_is_loaded(
    override: str, rejected: Rejected, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("prepare_data", "setup", "load"):
        monkeypatch.setattr(FashionMNISTDataModule, method, lambda *_: pytest.fail("data is loaded"))
    line = rejected("model=mlp", f"data.root={tmp_path / 'nowhere'}", "trainer=cpu", override)
    assert line.startswith(MISTAKES[override])
    assert "\n" not in line
    outcome(f"`{line}`" if len(line) < 120 else f"`{MISTAKES[override]} ...`")


def test_missing_data_is_reported_without_a_mistake(rejected: Rejected, tmp_path: Path) -> None:
    line = rejected("model=mlp", f"data.root={tmp_path / 'nowhere'}", "data.download=false", "trainer=cpu")
    assert line.startswith(f"Fashion-MNIST is not in {tmp_path}/nowhere")
