"""Instantiation from a configuration: arguments passed to constructors, and keys named in errors."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dive import callbacks, loggers
from dive.config.compose import compose_config, compose_resolved, resolve_config
from dive.data import SyntheticGarments
from dive.errors import ConfigError
from dive.models import MLP
from dive.runs import provenance
from dive.runs.record import Config
from dive.tasks.task import ClassificationTask
from dive.training import instantiate
from dive.training.trainer import Trainer

FEW = ("model=mlp", "data=garments", "data.num_train=40", "data.num_test=10", "data.val_size=10", "trainer=cpu")


def small_config(*overrides: str) -> Config:
    return compose_resolved(*FEW, *overrides)


def make_task(*overrides: str) -> ClassificationTask:
    config = small_config(*overrides)
    return instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))


def test_a_resolved_configuration_has_plain_types_and_no_interpolations() -> None:
    config = resolve_config(compose_config(["model=mlp", "seed=7", "optimizer.lr=0.5"]))
    assert type(config) is type(config["data"]) is dict
    assert type(config["data"]["resize"]) is list
    assert config["data"]["seed"] == 7
    assert config["optimizer"]["lr"] == 0.5
    assert config["trainer"]["max_epochs"] == config["recipe"]["max_epochs"]
    assert "${" not in str(config)


def test_resolving_reports_all_invalid_values() -> None:
    with pytest.raises(ConfigError) as error:
        resolve_config(compose_config(["model=mlp", "optimizer.lr=-1", "data.batch_size=0"]))
    assert str(error.value).splitlines() == [
        "data.batch_size=0: must be an integer of at least 1",
        "optimizer.lr=-1: must be a number in (0, inf)",
    ]


def test_resolving_reports_missing_values() -> None:
    with pytest.raises(ConfigError, match=r"^data\.root: missing mandatory value; set data\.root=\.\.\.$"):
        resolve_config(compose_config(["model=mlp", "data.root=???"]))


def mock_hydra(monkeypatch: pytest.MonkeyPatch, mode: RunMode, *overrides: str) -> None:
    """Simulate a job started by Hydra."""
    hydra = SimpleNamespace(
        mode=mode,
        runtime=SimpleNamespace(output_dir="outputs/run"),
        overrides=SimpleNamespace(task=list(overrides)),
    )
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)


def test_a_run_has_hydra_s_directory_and_records_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    mock_hydra(monkeypatch, RunMode.RUN, "model=mlp")
    run = instantiate.instantiate_run({"resume": None})
    assert (run.directory, run.resume, run.quiet) == (Path("outputs/run"), False, False)
    assert run.command == provenance.command()


def test_a_job_of_a_sweep_is_quiet_and_records_the_command_that_repeats_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    overrides = ("model=mlp", "model.num_hiddens=[8, 8]", "sweep=lr", "launcher=parallel")
    mock_hydra(monkeypatch, RunMode.MULTIRUN, *overrides)
    run = instantiate.instantiate_run({"resume": "outputs/run"})
    assert (run.resume, run.quiet) == (True, True)
    assert run.command == "python train.py model=mlp 'model.num_hiddens=[8, 8]'"


def test_the_data_module_is_instantiated_without_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticGarments, "load", lambda _: pytest.fail("data were loaded"))
    data = instantiate.instantiate_datamodule(small_config("data.batch_size=5", "seed=3"))
    assert isinstance(data, SyntheticGarments)
    assert (data.num_train, data.batch_size, data.seed) == (40, 5, 3)


def test_the_model_fits_the_shape_of_the_data() -> None:
    task = make_task("data.resize=[8,4]", "model.num_hiddens=[3]")
    assert isinstance(task, ClassificationTask)
    assert isinstance(task.model, MLP)
    assert [tuple(p.shape) for p in task.model.parameters()] == [(3, 32), (3,), (10, 3), (10,)]


def test_the_optimizer_has_the_configured_arguments() -> None:
    optimizers = make_task("optimizer.lr=0.25", "optimizer.momentum=0.5").configure_optimizers()
    assert isinstance(optimizers["optimizer"], torch.optim.SGD)
    assert {(group["lr"], group["momentum"]) for group in optimizers["optimizer"].param_groups} == {(0.25, 0.5)}
    assert "lr_scheduler" not in optimizers


def test_the_scheduler_has_the_configured_arguments() -> None:
    optimizers = make_task("scheduler=step", "scheduler.step_size=3").configure_optimizers()
    scheduler = optimizers["lr_scheduler"]["scheduler"]
    assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)
    assert scheduler.step_size == 3
    assert scheduler.optimizer is optimizers["optimizer"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.resize=[28]",), r"^data: resize must be \[height, width\]"),
        (("model.activation=rule",), "^model: unknown activation 'rule'; choose from elu, "),
        (("model.num_hiddens=[0]",), "^model: each of num_hiddens must be at least 1"),
        (("+optimizer.nesterov=true",), "^optimizer: Nesterov momentum requires a momentum"),
        (("optimizer=adamw", "+optimizer.eps=-1.0"), "^optimizer: Invalid epsilon"),
    ],
)
def test_errors_of_constructors_name_the_group(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(*overrides)


def test_invalid_optimizer_arguments_are_reported_before_data_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticGarments, "load", lambda _: pytest.fail("data were loaded"))
    with pytest.raises(ConfigError, match="optimizer"):
        make_task("+optimizer.nesterov=true")


def make_trainer(directory: Path, *overrides: str) -> Trainer:
    return instantiate.instantiate_trainer(small_config(*overrides), directory)


def class_names(objects: list[Any], package: Any) -> set[str]:
    return {type(one).__name__ for one in objects} & set(package.__all__)


def test_the_trainer_writes_to_the_run_directory(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    assert isinstance(trainer, Trainer)
    assert trainer.default_root_dir == str(tmp_path)
    history = next(logger for logger in trainer.loggers if isinstance(logger, loggers.MetricsHistoryLogger))
    assert history.run_dir == tmp_path
    tensorboard = next(logger for logger in trainer.loggers if isinstance(logger, loggers.TensorBoardLogger))
    assert Path(tensorboard.log_dir) == tmp_path


def test_the_trainer_has_the_configured_callbacks_and_loggers(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "callbacks=early_stopping", "callbacks.early_stopping.patience=7")
    assert class_names(trainer.callbacks, callbacks) == set(callbacks.__all__)
    assert class_names(trainer.loggers, loggers) == {"ConsoleLogger", "MetricsHistoryLogger", "TensorBoardLogger"}
    stopping = next(one for one in trainer.callbacks if isinstance(one, callbacks.EarlyStopping))
    assert (stopping.patience, stopping.monitor) == (7, "val/acc")


def test_null_disables_a_callback_or_logger(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "callbacks.terminate_on_non_finite=null", "logger.tensorboard=null")
    assert class_names(trainer.callbacks, callbacks) == set(callbacks.__all__) - {
        "TerminateOnNonFinite",
        "EarlyStopping",
    }
    assert class_names(trainer.loggers, loggers) == {"ConsoleLogger", "MetricsHistoryLogger"}


def test_errors_of_callbacks_name_the_group_and_the_callback(tmp_path: Path) -> None:
    config = small_config()
    config["callbacks"]["best"] |= {"unknown": 1}
    with pytest.raises(ConfigError, match=r"^callbacks\.best: .*unexpected keyword argument 'unknown'"):
        instantiate.instantiate_trainer(config, tmp_path)


def test_the_mode_of_a_callback_s_metric_must_be_known(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^monitor=val/joy: mode=auto cannot tell .*; set mode=max or mode=min$"
    ):
        make_trainer(tmp_path, "callbacks.best.monitor=val/joy")


def test_errors_of_the_trainer_name_the_key(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^trainer\.precision=exact: must be 64, 32, 16 or .*16-mixed, .* null$"
    ):
        make_trainer(tmp_path, "trainer.precision=exact")


def test_objects_are_passed_without_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[MLP] = []
    init = MLP.__init__

    def record(self: MLP, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        models.append(self)

    monkeypatch.setattr(MLP, "__init__", record)
    task = make_task()
    assert len(models) == 1
    assert task.model is models[0]


def test_each_instantiation_creates_new_objects() -> None:
    config = small_config()
    data = instantiate.instantiate_datamodule(config)
    assert instantiate.instantiate_task(config, data).model is not instantiate.instantiate_task(config, data).model
    assert config == small_config()


def test_a_model_too_large_for_the_memory_is_reported_by_its_key() -> None:
    config = compose_resolved("model=mlp", "data=garments", "model.num_hiddens=[100000000000]")
    with pytest.raises(ConfigError, match="model: too large for the memory of this machine"):
        instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"optimizer": {"_target_": "torch.nn.ReLU", "_partial_": True}},
            "optimizer._target_: ReLU is not a subclass of Optimizer",
        ),
        ({"data": {"_target_": "torch.nn.ReLU"}}, "data._target_: ReLU is not a subclass of InMemoryDataModule"),
        ({"task": {"_target_": "torch.nn.ReLU"}}, "task._target_: ReLU is not a subclass of Task"),
        ({"model": {"_target_": "torch.optim.SGD"}}, "model._target_: SGD is not a subclass of Module"),
        ({"trainer": {"_target_": "torch.nn.ReLU"}}, "trainer._target_: ReLU is not a subclass of Trainer"),
        (
            {"scheduler": {"_target_": "torch.optim.SGD", "_partial_": True}},
            "scheduler._target_: SGD is not a subclass of LRScheduler",
        ),
        (
            {"callbacks": {"a": {"_target_": "torch.nn.ReLU"}}},
            "callbacks.a._target_: ReLU is not a subclass of Callback",
        ),
        ({"logger": {"a": {"_target_": "torch.nn.ReLU"}}}, "logger.a._target_: ReLU is not a subclass of Logger"),
        ({"model": {"_target_": "torch.nn.functional.relu"}}, "model: "),
    ],
)
def test_classes_that_belong_to_another_key(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = compose_resolved("model=linear_regression", "trainer=cpu") | changed

    def build() -> None:
        instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))
        instantiate.instantiate_trainer(config, tmp_path)

    with pytest.raises(ConfigError) as caught:
        build()
    assert str(caught.value).startswith(message)


def test_a_function_must_build_the_right_kind_of_object(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose_resolved("model=linear_regression") | {"model": {"_target_": "torch.nn.functional.relu"}}
    monkeypatch.setattr(torch.nn.functional, "relu", lambda **shape: shape)
    with pytest.raises(ConfigError, match="model: must build an object of type Module, got dict"):
        instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))
