"""A configuration is validated before anything is built: targets, arguments and numbers."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import dive.models
import dive.tasks.losses
from dive.config import validation as module
from dive.config.allowlist import resolve_target
from dive.config.compose import compose_resolved
from dive.config.ranges import RANGES, describe_range, in_range
from dive.config.validation import validate_config
from dive.errors import ConfigError

MLP = {"_target_": "dive.models.MLP", "num_hiddens": [256], "activation": "relu", "dropout": 0.0}
GARMENTS = {"_target_": "dive.data.SyntheticGarments"}
SGD = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}

PLAIN_NAME = "must be a plain file name, such as 'best' or '{epoch:02d}-{val/loss:.3f}'"


def problems(config: dict[str, Any]) -> list[str]:
    """The lines of the error; empty for a valid configuration."""
    try:
        validate_config(config)
    except ConfigError as error:
        return str(error).splitlines()
    return []


# Targets.


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("dive.models.MLP", dive.models.MLP),
        ("torch.nn.CrossEntropyLoss", torch.nn.CrossEntropyLoss),
        ("torch.nn.functional.relu", torch.nn.functional.relu),
        ("torch.optim.lr_scheduler.StepLR", torch.optim.lr_scheduler.StepLR),
    ],
)
def test_target_below_an_allowed_name_is_resolved(path: str, target: object) -> None:
    assert resolve_target(path) is target


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "functools.partial",
        "builtins.eval",
        "subprocess.run",
        "torch.load",
        "torch.hub.load",
        "torch.nnn.Linear",
        "dive",
        "divein.models.MLP",
        "Dive.models.MLP",
        " dive.models.MLP",
        "",
    ],
)
def test_other_target_is_rejected_with_the_allowed_names(path: str) -> None:
    (line,) = problems({"model": {"_target_": path}})
    assert line.startswith(
        f"model._target_={path}: not allowed; the allowed targets are classes in dive.callbacks.*, "
    )


@pytest.mark.parametrize(
    "path",
    [
        "dive.training.instantiate.instantiate",
        "dive.training.instantiate.Path",
        "dive.runs.run.Path",
        "dive.runs.run.add_file_handler.__globals__",
        "dive.runs.run.os.system",
        "dive.runs.provenance.subprocess.run",
        "dive.config.validation.importlib.import_module",
        "dive.config.validation.math",
        "dive.runs.run.Config",
        "torch.nn.modules.module.functools.partial",
    ],
)
def test_alias_of_another_object_is_rejected(path: str) -> None:
    (line,) = problems({"model": {"_target_": path, "command": "true"}})
    assert line.startswith(f"model._target_={path}: ")
    with pytest.raises(ConfigError):
        resolve_target(path)


def test_alias_is_detected_by_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(dive.tasks.losses, "innocent", lambda **kwargs: called.append(kwargs), raising=False)
    (line,) = problems({"model": {"_target_": "dive.tasks.losses.innocent"}})
    assert line.startswith("model._target_=dive.tasks.losses.innocent: refers to an object that is not allowed; ")
    assert not called


@pytest.mark.parametrize(
    "path", ["dive.models.Nothing", "dive.nowhere.MLP", "torch.nn.", "dive..MLP", "dive.models"]
)
def test_missing_or_uncallable_target_is_rejected(path: str) -> None:
    (line,) = problems({"model": {"_target_": path}})
    assert line.startswith(f"model._target_={path}: ")


@pytest.mark.parametrize("path", ["os.system", "dive.runs.run.os.system", "dive.runs.provenance.os.system"])
def test_rejected_target_is_not_called(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(os, "system", called.append)
    monkeypatch.setattr(subprocess, "run", called.append)
    assert len(problems({"model": {"_target_": path, "command": "true"}})) == 1
    assert not called


def test_allowed_target_is_not_called_either(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *args, **_: called.append(args))
    assert problems({"model": MLP}) == []
    assert not called


@pytest.mark.parametrize("name", ["trap", "dive_trap"])
def test_rejected_target_is_not_imported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = tmp_path / "canary"
    (tmp_path / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()\ndef trigger(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(problems({"model": {"_target_": f"{name}.trigger"}})) == 1
    assert not canary.exists()
    assert name not in sys.modules


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"task": {"loss": {"_target_": "os.system"}}}, "task.loss"),
        ({"callbacks": [MLP, {"_target_": "os.system"}]}, "callbacks[1]"),
        ({"model": MLP | {"num_hiddens": {"_target_": "os.system"}}}, "model.num_hiddens"),
        (
            {"trainer": {"_target_": "dive.training.trainer.Trainer", "profiler": {"_target_": "os.system"}}},
            "trainer.profiler",
        ),
        ({"a": [[{"b": {"_target_": "os.system"}}]]}, "a[0][0].b"),
        ({"_target_": "os.system"}, ""),
    ],
)
def test_targets_are_found_at_any_depth(config: dict[str, Any], key: str) -> None:
    (line,) = problems(config)
    assert line.startswith(f"{key}._target_=os.system: not allowed")


# Arguments.


def test_unknown_argument_is_reported_with_the_closest_and_all_names() -> None:
    assert problems({"model": MLP | {"num_hidden": [64]}}) == [
        "model.num_hidden=[64]: unknown; did you mean 'num_hiddens'? "
        "Choose from num_inputs, num_outputs, num_hiddens, activation, dropout"
    ]


@pytest.mark.parametrize("name", ["_args_", "_recursive_", "_convert_", "_anything"])
@pytest.mark.parametrize(
    "node", [MLP, {"a": 1}, {"_target_": "dive.training.trainer.Trainer"}], ids=["one", "none", "any"]
)
def test_hydra_keys_that_bypass_validation_are_rejected(name: str, node: dict[str, Any]) -> None:
    (line,) = problems({"it": [[node | {name: [1]}]]})
    assert line.startswith(f"it[0][0].{name}=[1]: unknown; ")
    assert line.endswith("hoose from _target_, _partial_")


@pytest.mark.parametrize("value", ["yes", 1, None, {"_target_": "os.system"}])
def test_partial_must_be_a_boolean(value: Any) -> None:
    assert problems({"it": SGD | {"_partial_": value}}) == [f"it._partial_={value}: must be true or false"]


def test_key_must_be_a_string() -> None:
    assert problems({"it": {"_target_": "dive.training.trainer.Trainer", 1: 2}}) == [
        "it.1=2: a key must be a string"
    ]


@pytest.mark.parametrize(
    ("node", "line"),
    [
        ({"filename": "../../best"}, f"filename=../../best: {PLAIN_NAME}"),
        ({"filename": "/tmp/best"}, f"filename=/tmp/best: {PLAIN_NAME}"),
        ({"dirpath": "here"}, "dirpath=here: must be null: a run writes to its own directory"),
        (
            {"compile": {"options": {"cpp.cxx": "evil"}}},
            "compile.options={'cpp.cxx': 'evil'}: must be omitted: it can name programs to execute",
        ),
    ],
)
def test_value_outside_the_run_directory_is_rejected(node: dict[str, Any], line: str) -> None:
    assert problems({"it": node}) == [f"it.{line}"]


def test_value_inside_the_run_directory_is_accepted() -> None:
    assert problems({"it": {"filename": "{epoch}-best..", "dirpath": None, "compile": {"mode": "default"}}}) == []


@pytest.mark.parametrize(
    ("node", "line"),
    [
        (MLP | {"activation": 3}, "activation=3: must be a string"),
        (MLP | {"activation": None}, "activation=None: must be a string"),
        (MLP | {"num_hiddens": 256}, "num_hiddens=256: must be a list of integers"),
        (MLP | {"num_hiddens": ["wide"]}, "num_hiddens=['wide']: must be a list of integers"),
        (MLP | {"dropout": "much"}, "dropout=much: must be a number in [0, 1)"),
        (SGD | {"lr": "fast"}, "lr=fast: must be a number in (0, inf)"),
        (SGD | {"nesterov": 1}, "nesterov=1: must be true or false"),
        ({"_target_": "dive.data.SyntheticRegression", "w": 1.0}, "w=1.0: must be a list of numbers"),
        (GARMENTS | {"batch_size": 1.5}, "batch_size=1.5: must be an integer of at least 1"),
        (GARMENTS | {"shuffle": "yes"}, "shuffle=yes: must be true or false"),
        ({"_target_": "dive.data.FashionMNISTDataModule", "root": 3}, "root=3: must be a string"),
    ],
)
def test_value_of_the_wrong_type_is_reported_with_the_right_type(node: dict[str, Any], line: str) -> None:
    assert problems({"it": node}) == [f"it.{line}"]


@pytest.mark.parametrize("number", [True, False])
@pytest.mark.parametrize(
    ("target", "name"), [("dive.models.MLPScratch", "num_hiddens"), ("dive.models.MLPScratch", "sigma")]
)
def test_booleans_are_not_numbers(target: str, name: str, number: bool) -> None:
    expected = {"num_hiddens": "an integer", "sigma": "a number in [0, inf)"}[name]
    assert problems({"model": {"_target_": target, name: number}}) == [
        f"model.{name}={number}: must be {expected}"
    ]


def test_boolean_is_not_a_learning_rate() -> None:
    assert problems({"optimizer": SGD | {"lr": True}}) == ["optimizer.lr=True: must be a number in (0, inf)"]


@pytest.mark.parametrize(
    "node",
    [
        MLP | {"dropout": 0},
        MLP | {"num_hiddens": []},
        MLP | {"num_hiddens": [64, 32]},
        SGD | {"foreach": None},
        {"_target_": "dive.data.FashionMNISTDataModule", "root": "data", "resize": [32, 32]},
        {"_target_": "dive.tasks.task.ClassificationTask", "model": MLP, "optimizer": SGD, "scheduler": None},
    ],
    ids=["integer for a float", "empty", "several", "null", "strings", "unbuilt objects"],
)
def test_values_of_the_right_type_are_accepted(node: dict[str, Any]) -> None:
    assert problems({"it": node}) == []


def test_arguments_passed_to_the_parent_class_are_validated() -> None:
    trainer = {"_target_": "dive.training.trainer.Trainer"}
    assert problems({"trainer": trainer | {"barebones": True}}) == []
    assert problems({"trainer": trainer | {"barebones": 3}}) == ["trainer.barebones=3: must be true or false"]
    (line,) = problems({"trainer": trainer | {"max_epoch": 3}})
    assert line.startswith(
        "trainer.max_epoch=3: unknown; did you mean 'max_epochs'? Choose from steps_per_execution, compile, "
    )
    (line,) = problems({"data": GARMENTS | {"batchsize": 3}})
    assert line.endswith(
        "from num_train, num_test, draw_seed, resize, val_size, split_seed, "
        "batch_size, seed, shuffle, num_workers, worker_start"
    )


def anything(**kwargs: Any) -> None:
    """Accept any arguments."""


def test_arbitrary_keyword_arguments_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "resolve_target", {"dive.anything": anything}.get)
    assert problems({"model": {"_target_": "dive.anything", "width": "any"}}) == []


# Numbers.


@pytest.mark.parametrize("name", RANGES)
def test_number_with_a_range_rejects_negatives_infinity_nan_strings_and_booleans(name: str) -> None:
    for value in (-1, float("inf"), float("nan"), "word", True):
        assert problems({"any": {name: value}}) == [f"any.{name}={value}: must be {describe_range(RANGES[name])}"]


@pytest.mark.parametrize(
    ("name", "fine", "wrong"),
    [
        ("batch_size", 1, 0),
        ("dropout", 0, 1),
        ("dropout", 0.999, 1.5),
        ("gradient_clip_val", 0, -0.1),
        ("lr", 1e-9, 0),
        ("max_epochs", 1, 0),
        ("momentum", 0, -0.5),
        ("num_workers", 0, -1),
        ("seed", 0, -1),
        ("seed", 2**32 - 1, 2**32),
        ("val_size", 0, -1),
        ("weight_decay", 0.0, -0.001),
    ],
)
def test_numbers_must_be_in_their_range(name: str, fine: float, wrong: float) -> None:
    assert problems({"any": {name: fine}}) == []
    assert problems({"any": {name: wrong}}) == [f"any.{name}={wrong}: must be {describe_range(RANGES[name])}"]


def test_number_with_a_range_can_be_null() -> None:
    assert problems({"trainer": {"gradient_clip_val": None}}) == []


def test_ranges_apply_at_the_top_level_and_in_lists() -> None:
    lines = problems({"seed": -1, "groups": [{"lr": 1.0}, {"lr": 0}]})
    assert lines == [
        "seed=-1: must be an integer of at least 0 and at most 4294967295",
        "groups[1].lr=0: must be a number in (0, inf)",
    ]


@pytest.mark.parametrize(
    ("value", "limits", "inside"),
    [
        (0, "[0, 1]", True),
        (1, "[0, 1]", True),
        (0, "(0, 1]", False),
        (1, "[0, 1)", False),
        (0.5, "(0, 1)", True),
        (-1e-9, "[0, 1]", False),
        (5e-324, "(0, inf)", True),
        (1.7e308, "[0, inf)", True),
        (float("inf"), "[0, inf)", False),
        (float("inf"), "[0, inf]", True),
        (float("-inf"), "[0, inf)", False),
        (float("nan"), "[0, inf)", False),
        (True, "[0, 1]", False),
        (False, "[0, 1]", False),
        ("0.5", "[0, 1]", False),
        (None, "[0, 1]", False),
        ([0.5], "[0, 1]", False),
    ],
)
def test_in_range(value: object, limits: str, inside: bool) -> None:
    assert in_range(value, limits) is inside


# Missing values, and several problems at once.


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"data": {"root": "???"}}, "data.root"),
        ({"seed": "???"}, "seed"),
        ({"data": {"resize": [28, "???"]}}, "data.resize[1]"),
        ({"model": MLP | {"num_hiddens": "???"}}, "model.num_hiddens"),
        ({"model": MLP | {"dropout": "???"}}, "model.dropout"),
    ],
)
def test_missing_value_is_reported_once(config: dict[str, Any], key: str) -> None:
    assert problems(config) == [f"{key}: missing mandatory value; set {key}=..."]


def test_all_problems_are_reported_one_line_each() -> None:
    config = {
        "seed": -1,
        "name": "???",
        "data": {"_target_": "dive.data.SyntheticGarments", "batch_size": 0, "shuffle": "no", "sead": 3},
        "model": {"_target_": "os.system", "dropout": 2},
        "optimizer": SGD | {"lr": -0.1, "momentum": "some"},
        "callbacks": [{"_target_": "dive.callbacks.Nothing"}],
    }
    keys = [line.partition(":")[0] for line in problems(config)]
    assert sorted(keys) == [
        "callbacks[0]._target_=dive.callbacks.Nothing",
        "data.batch_size=0",
        "data.sead=3",
        "data.shuffle=no",
        "model._target_=os.system",
        "model.dropout=2",
        "name",
        "optimizer.lr=-0.1",
        "optimizer.momentum=some",
        "seed=-1",
    ]


def test_problem_found_by_two_rules_is_reported_once() -> None:
    (line,) = problems({"optimizer": SGD | {"momentum": "some"}})
    assert line == "optimizer.momentum=some: must be a number in [0, inf)"


def test_key_that_is_a_prefix_of_a_reported_key_is_validated() -> None:
    lines = problems({"it": {"_target_": "dive.data.SyntheticGarments", "seed": "s", "num_train": 0}, "seed": -1})
    assert len(lines) == 3


def test_validation_does_not_change_the_configuration() -> None:
    config = compose_resolved("model=mlp", "data=garments")
    copy = compose_resolved("model=mlp", "data=garments")
    validate_config(config)
    assert config == copy
