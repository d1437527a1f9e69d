"""Configurations that are hostile or mistaken: refused before anything is called, loaded or written."""

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

Said = Callable[..., str]
Outcome = Callable[[str], None]

# What a hostile configuration would call, with what.
HOSTILE: dict[str, dict[str, Any]] = {
    "os.system": {"command": "touch canary"},
    "dive.runs.provenance.subprocess.run": {"args": ["touch", "canary"]},
    "dive.tasks.losses.torch.save": {"obj": 1, "f": "canary"},
    "functools.partial": {"_args_": ["os.system", "touch canary"]},
    "hydra.utils.instantiate": {"config": {"_target_": "torch.save", "obj": 1, "f": "canary"}},
    "os.environ.setdefault": {"key": "HYDRA_INSTANTIATE_ALLOWLIST_OVERRIDE", "default": "os.system"},
    "hydra._internal.target_policy.DEFAULT_BLOCKLISTED_MODULES.difference": {"_args_": [["os.remove"]]},
    "dive.runs.atomic_io.atomic_write": {"path": "canary", "content": "sung"},
    "dive.sweeps.launchers.process_pool.run_jobs": {"tasks": [], "workers": 1, "threads": 1},
    "torch.nn.Module.apply": {"fn": {"_target_": "torch.nn.ReLU"}},
    "torch.load": {"f": "canary"},
    "torch.save": {"obj": 1, "f": "canary"},
    "pytorch_lightning.loggers.WandbLogger": {"project": "theirs"},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written goes to a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Said:
    """Run train.py in this process, which must end with status 1, and return its lines: one a mistake."""

    def said(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["train.py", *words])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
        lines = str(caught.value.code)  # text is printed, and the status is 1
        assert lines.startswith("error: "), lines
        return lines.removeprefix("error: ")

    return said


@pytest.fixture
def nothing_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call through Hydra ends the test."""
    monkeypatch.setattr(
        "dive.training.instantiate.instantiate", lambda *_, **__: pytest.fail("something was called")
    )


def recorded(folder: Path, config: dict[str, Any]) -> Path:
    """A run's directory as somebody else may have sent it."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def places(evil: dict[str, Any]) -> list[dict[str, Any]]:
    """Configurations that hold this mapping, here and there."""
    config = compose_resolved(*FEW)
    return [
        config | {"model": evil},
        config | {"note": [[{"deep": [evil]}]]},
        config | {"callbacks": config["callbacks"] | {"best": evil}},
        config | {"task": config["task"] | {"loss": evil}},
        config
        | {"trainer": config["trainer"] | {"profiler": {"_target_": "dive.models.MLP", "num_hiddens": evil}}},
    ]


def told(line: str) -> str:
    """The line without the list of what is allowed."""
    return line.partition("; allowed are")[0]


def test_the_canary_would_sing(tmp_path: Path) -> None:
    hydra.utils.instantiate({"_target_": "torch.save", **HOSTILE["torch.save"]})
    assert (tmp_path / "canary").exists()


@pytest.mark.usefixtures("nothing_is_called")
@pytest.mark.fault(
    6, "configuration that names os.system and the like", "`model={_target_: os.system, ...}` as typed"
)
def test_a_hostile_target_that_is_typed_is_not_called(refused: Said, outcome: Outcome, tmp_path: Path) -> None:
    lines = {}
    for target, arguments in HOSTILE.items():
        words = [
            f"++model.{key}={json.dumps(value)}" for key, value in arguments.items() if not isinstance(value, dict)
        ]
        lines[target] = refused(*FEW[2:], f"model._target_={target}", *words).splitlines()[-1]
        assert lines[target].startswith(f"model._target_={target}: ")
        listed = refused(*FEW, f"+note=[[{{_target_: {target}}}]]")
        assert listed.startswith(f"note[0][0]._target_={target}: ")
    assert not list(tmp_path.rglob("canary"))
    others = ", ".join(f"`{target}`" for target in HOSTILE if target != "os.system")
    outcome(f"`{told(lines['os.system'])}`: refused before any call, and so are {others}")


@pytest.mark.usefixtures("nothing_is_called")
@pytest.mark.fault(6, "record of an untrusted run that names os.system and the like", "`resume=DIR` of such a run")
def test_a_hostile_target_that_is_recorded_is_not_called(refused: Said, outcome: Outcome, tmp_path: Path) -> None:
    count = 0
    for target, arguments in HOSTILE.items():
        for config in places({"_target_": target, **arguments}):
            count += 1
            run = recorded(tmp_path / str(count), config)
            assert f"_target_={target}: " in refused(f"resume={run}")
            assert sorted(path.name for path in run.rglob("*")) == ["checkpoints", "config.yaml", "last.ckpt"]
    assert not list(tmp_path.rglob("canary"))
    outcome("refused before any call, wherever it stands: as a model, callback, loss, argument, in lists of lists")


@pytest.mark.fault(
    6, "record of an untrusted run that names os.system and the like", "`python train.py resume=DIR`"
)
def test_a_hostile_run_is_not_resumed_by_the_command(outcome: Outcome, tmp_path: Path) -> None:
    config = compose_resolved(*FEW)
    config["callbacks"]["terminate_on_non_finite"] = {"_target_": "torch.save", **HOSTILE["torch.save"]}
    run = recorded(tmp_path / "theirs", config)
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", f"resume={run}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert not list(tmp_path.rglob("canary"))
    outcome(f"`{told(done.stderr.strip())}`: exit status 1, nothing called")


@pytest.mark.fault(
    6, "record of an untrusted run that speaks to Hydra", "keys `hydra`, `defaults`; `# @package`; links"
)
def test_a_record_that_is_more_than_a_record_is_refused(refused: Said, outcome: Outcome, tmp_path: Path) -> None:
    callback = {"callbacks": {"x": {"_target_": "torch.save", **HOSTILE["torch.save"]}}}
    for i, text in enumerate(
        [
            yaml.safe_dump(compose_resolved(*FEW) | {"hydra": callback}),
            yaml.safe_dump(compose_resolved(*FEW) | {"defaults": [{"hydra/launcher": "evil"}]}),
            "# @package hydra\n" + yaml.safe_dump(callback | {"resume": None}),
        ]
    ):
        run = recorded(tmp_path / str(i), {})
        (run / "config.yaml").write_text(text)
        assert refused(f"resume={run}").endswith("config.yaml is not the record of a run")
    run = recorded(tmp_path / "linked", compose_resolved(*FEW))
    (run / "train.log").symlink_to(tmp_path / "profile")
    assert refused(f"resume={run}").endswith("train.log is a link; the files of a run are its own")
    assert not (tmp_path / "profile").exists()
    assert not list(tmp_path.rglob("canary"))
    outcome("`config.yaml is not the record of a run`, `... is a link; the files of a run are its own`")


@pytest.mark.usefixtures("nothing_is_called")
@pytest.mark.fault(
    6, "configuration that writes elsewhere or runs a compiler", "arguments of allowed classes, as typed"
)
def test_an_allowed_class_is_not_made_to_reach_out(refused: Said, outcome: Outcome) -> None:
    words = {
        f"+callbacks.more={{_target_:{CHECKPOINT},filename:../../canary}}": "must be a name within the run",
        f"trainer.profiler={{_target_:{PROFILER},dirpath:/tmp}}": "must be null: a run writes into its own",
        "trainer.compile={options:{cpp.cxx:evil}}": "must be left out: it can name programs to be run",
    }
    for word, wanted in words.items():
        assert wanted in refused(*FEW, word)
    outcome("; ".join(f"`{word}` {wanted}" for word, wanted in words.items()))


# What is typed, and how the line begins.
MISTAKES = {
    "optimizer.lrr=0.1": "optimizer.lrr: unknown; did you mean 'lr'?",
    "+model.num_hidden=[8]": "model.num_hidden=[8]: unknown; did you mean 'num_hiddens'?",
    "optimiser.lr=0.1": "optimiser: unknown; did you mean 'optimizer'?",
    "model.num_hiddens=many": "model.num_hiddens=many: must be a list of whole numbers",
    "model.dropout=[1]": "model.dropout=[1]: must be a number in [0, 1)",
    "optimizer.lr=-1": "optimizer.lr=-1: must be a number in (0, inf)",
    "data.batch_size=0": "data.batch_size=0: must be a whole number of at least 1",
    "data.seed=???": "data.seed: a value is missing; give one with data.seed=...",
    "model.activation=???": "model.activation: a value is missing; give one with model.activation=...",
    "optimizer=sdg": "optimizer=sdg: unknown; did you mean 'sgd'?",
    "model.activation=rleu": "model: unknown activation 'rleu'; choose from",
    "monitor=val/accuracy": "monitor=val/accuracy: unknown; did you mean 'val/acc'?",
}


@pytest.mark.parametrize(
    "word",
    [pytest.param(word, marks=pytest.mark.fault(21, "mistake in a command", f"`{word}`")) for word in MISTAKES],
)
def test_a_mistake_is_told_before_data_are_loaded(
    word: str, refused: Said, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for method in ("prepare_data", "setup", "load"):
        monkeypatch.setattr(FashionMNISTDataModule, method, lambda *_: pytest.fail("data are loaded"))
    line = refused("model=mlp", f"data.root={tmp_path / 'nowhere'}", "trainer=cpu", word)
    assert line.startswith(MISTAKES[word])
    assert "\n" not in line
    outcome(f"`{line}`" if len(line) < 120 else f"`{MISTAKES[word]} ...`")


def test_without_a_mistake_data_would_have_been_missed(refused: Said, tmp_path: Path) -> None:
    line = refused("model=mlp", f"data.root={tmp_path / 'nowhere'}", "data.download=false", "trainer=cpu")
    assert line.startswith(f"Fashion-MNIST is not in {tmp_path}/nowhere")
