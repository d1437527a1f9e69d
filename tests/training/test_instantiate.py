"""From configuration to objects: what is handed over, and whose fault an error is."""

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


def few(*overrides: str) -> Config:
    return compose_resolved(*FEW, *overrides)


def built_task(*overrides: str) -> ClassificationTask:
    config = few(*overrides)
    return instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))


def test_a_resolved_configuration_is_plain_and_complete() -> None:
    config = resolve_config(compose_config(["model=mlp", "seed=7", "optimizer.lr=0.5"]))
    assert type(config) is type(config["data"]) is dict
    assert type(config["data"]["resize"]) is list
    assert config["data"]["seed"] == 7
    assert config["optimizer"]["lr"] == 0.5
    assert config["trainer"]["max_epochs"] == config["recipe"]["max_epochs"]
    assert "${" not in str(config)


def test_resolving_refuses_what_cannot_be_run() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_config(compose_config(["model=mlp", "optimizer.lr=-1", "data.batch_size=0"]))
    assert str(caught.value).splitlines() == [
        "data.batch_size=0: must be an integer of at least 1",
        "optimizer.lr=-1: must be a number in (0, inf)",
    ]


def test_resolving_asks_for_missing_values() -> None:
    with pytest.raises(ConfigError, match=r"^data\.root: missing mandatory value; set data\.root=\.\.\.$"):
        resolve_config(compose_config(["model=mlp", "data.root=???"]))


def started(monkeypatch: pytest.MonkeyPatch, mode: RunMode, *words: str) -> None:
    """Pretend that Hydra has started a job."""
    hydra = SimpleNamespace(
        mode=mode, runtime=SimpleNamespace(output_dir="outputs/run"), overrides=SimpleNamespace(task=list(words))
    )
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)


def test_a_run_is_in_hydra_s_directory_and_told_by_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, RunMode.RUN, "model=mlp")
    run = instantiate.instantiate_run({"resume": None})
    assert (run.directory, run.resume, run.quiet) == (Path("outputs/run"), False, False)
    assert run.command == provenance.command()


def test_a_job_of_a_sweep_is_quiet_and_told_by_the_command_that_repeats_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("model=mlp", "model.num_hiddens=[8, 8]", "sweep=lr", "launcher=parallel")
    started(monkeypatch, RunMode.MULTIRUN, *words)
    run = instantiate.instantiate_run({"resume": "outputs/run"})
    assert (run.resume, run.quiet) == (True, True)
    assert run.command == "python train.py model=mlp 'model.num_hiddens=[8, 8]'"


def test_data_are_built_from_their_part_and_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticGarments, "load", lambda _: pytest.fail("it must not load yet"))
    data = instantiate.instantiate_datamodule(few("data.batch_size=5", "seed=3"))
    assert isinstance(data, SyntheticGarments)
    assert (data.num_train, data.batch_size, data.seed) == (40, 5, 3)


def test_the_model_has_the_shape_of_the_data() -> None:
    task = built_task("data.resize=[8,4]", "model.num_hiddens=[3]")
    assert isinstance(task, ClassificationTask)
    assert isinstance(task.model, MLP)
    assert [tuple(p.shape) for p in task.model.parameters()] == [(3, 32), (3,), (10, 3), (10,)]


def test_the_optimizer_is_built_from_its_part() -> None:
    made = built_task("optimizer.lr=0.25", "optimizer.momentum=0.5").configure_optimizers()
    assert isinstance(made["optimizer"], torch.optim.SGD)
    assert {(group["lr"], group["momentum"]) for group in made["optimizer"].param_groups} == {(0.25, 0.5)}
    assert "lr_scheduler" not in made


def test_a_scheduler_is_built_where_there_is_one() -> None:
    made = built_task("scheduler=step", "scheduler.step_size=3").configure_optimizers()
    assert isinstance(made["lr_scheduler"], torch.optim.lr_scheduler.StepLR)
    assert made["lr_scheduler"].step_size == 3
    assert made["lr_scheduler"].optimizer is made["optimizer"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.resize=[28]",), r"^data: resize must be \[height, width\]"),
        (("model.activation=rule",), "^model: unknown activation 'rule'; choose from elu, "),
        (("model.num_hiddens=[0]",), "^model: num_hiddens must be at least 1 each"),
        (("+optimizer.nesterov=true",), "^optimizer: Nesterov momentum requires a momentum"),
        (("optimizer=adamw", "+optimizer.eps=-1.0"), "^optimizer: Invalid epsilon"),
    ],
)
def test_a_constructor_that_refuses_an_argument_is_named(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        built_task(*overrides)


def test_the_optimizer_s_arguments_are_tried_before_data_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SyntheticGarments, "load", lambda _: pytest.fail("it must not load yet"))
    with pytest.raises(ConfigError, match="optimizer"):
        built_task("+optimizer.nesterov=true")


def built_trainer(directory: Path, *overrides: str) -> Trainer:
    return instantiate.instantiate_trainer(few(*overrides), directory)


def kinds(objects: list[Any], package: Any) -> set[str]:
    return {type(one).__name__ for one in objects} & set(package.__all__)


def test_the_trainer_writes_below_the_run_s_directory(tmp_path: Path) -> None:
    trainer = built_trainer(tmp_path)
    assert isinstance(trainer, Trainer)
    assert trainer.default_root_dir == str(tmp_path)
    history = next(logger for logger in trainer.loggers if isinstance(logger, loggers.MetricsHistoryLogger))
    assert history.folder == tmp_path
    tensorboard = next(logger for logger in trainer.loggers if isinstance(logger, loggers.TensorBoardLogger))
    assert Path(tensorboard.log_dir) == tmp_path


def test_the_trainer_has_the_configured_callbacks_and_loggers(tmp_path: Path) -> None:
    trainer = built_trainer(tmp_path, "callbacks=early_stopping", "callbacks.early_stopping.patience=7")
    assert kinds(trainer.callbacks, callbacks) == set(callbacks.__all__)
    assert kinds(trainer.loggers, loggers) == {"Console", "History", "TensorBoard"}
    stopping = next(one for one in trainer.callbacks if isinstance(one, callbacks.EarlyStopping))
    assert (stopping.patience, stopping.monitor) == (7, "val/acc")


def test_null_switches_one_callback_or_logger_off(tmp_path: Path) -> None:
    trainer = built_trainer(tmp_path, "callbacks.terminate_on_non_finite=null", "logger.tensorboard=null")
    assert kinds(trainer.callbacks, callbacks) == set(callbacks.__all__) - {"NanGuard", "EarlyStopping"}
    assert kinds(trainer.loggers, loggers) == {"Console", "History"}


def test_a_callback_that_refuses_an_argument_is_named_with_its_group(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^callbacks\.best: cannot tell whether 'val/joy' should"):
        built_trainer(tmp_path, "callbacks.best.monitor=val/joy")


def test_a_trainer_that_refuses_an_argument_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^trainer\.precision=exact: must be 64, 32, 16 or .*16-mixed, .* null$"
    ):
        built_trainer(tmp_path, "trainer.precision=exact")


def test_objects_are_handed_over_and_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[MLP] = []
    build_model = MLP.__init__

    def remember(self: MLP, *args: Any, **kwargs: Any) -> None:
        build_model(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(MLP, "__init__", remember)
    task = built_task()
    assert len(made) == 1
    assert task.model is made[0]


def test_the_same_configuration_builds_anew_each_time() -> None:
    config = few()
    data = instantiate.instantiate_datamodule(config)
    assert instantiate.instantiate_task(config, data).model is not instantiate.instantiate_task(config, data).model
    assert config == few()


def test_a_model_too_large_for_the_memory_is_told_by_its_key() -> None:
    config = compose_resolved("model=mlp", "data=garments", "model.num_hiddens=[100000000000]")
    with pytest.raises(ConfigError, match="model: too large for the memory of this machine"):
        instantiate.instantiate_task(config, instantiate.instantiate_datamodule(config))
