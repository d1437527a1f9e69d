"""Each learning rate equals that of torch's own scheduler, stepped by hand, also in a resumed run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.short_runs import instantiate_all
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from dive import train
from dive.callbacks import ParameterError
from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR
from dive.errors import ConfigError, RunError
from dive.tasks.task import Task

EPOCHS, STEPS = 4, 5  # steps per epoch
LR = 0.08
RUN = (
    "model=linear_regression",
    "data.num_train=50",
    "data.num_val=20",
    "data.batch_size=10",
    f"optimizer.lr={LR}",
    "trainer=cpu",
    f"trainer.max_epochs={EPOCHS}",
    "callbacks=lean",
)
PREFIX = "torch.optim.lr_scheduler."


@pytest.fixture(autouse=True)
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of each training step."""
    found: list[float] = []
    step = Task.training_step

    def training_step(task: Any, *args: Any) -> Any:
        found.append(task.trainer.optimizers[0].param_groups[0]["lr"])
        return step(task, *args)

    monkeypatch.setattr(Task, "training_step", training_step)
    return found


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=LR)


def warmup_cosine(of: torch.optim.Optimizer) -> LRScheduler:
    parts = [lr_scheduler.LinearLR(of, 0.01, total_iters=2), lr_scheduler.CosineAnnealingLR(of, T_max=18)]
    return lr_scheduler.SequentialLR(of, parts, milestones=[2])


def sequential(of: torch.optim.Optimizer) -> LRScheduler:
    parts = [lr_scheduler.ConstantLR(of, 0.1, 3), lr_scheduler.ExponentialLR(of, 0.9)]
    return lr_scheduler.SequentialLR(of, parts, milestones=[3])


def chained(of: torch.optim.Optimizer) -> LRScheduler:
    parts = [lr_scheduler.ConstantLR(of, 0.1, 3), lr_scheduler.ExponentialLR(of, 0.9)]
    return lr_scheduler.ChainedScheduler(parts)


SPLIT = "milestones: [3], interval: step"
PARTS = (
    f"schedulers: [{{_target_: {PREFIX}ConstantLR, factor: 0.1, total_iters: 3}}, "
    f"{{_target_: {PREFIX}ExponentialLR, gamma: 0.9}}]"
)
CASES: dict[str, tuple[Sequence[str], Callable[[Any], LRScheduler], str]] = {
    "step": (
        ["scheduler=step", "scheduler.step_size=2"],
        lambda of: lr_scheduler.StepLR(of, 2, 0.1),
        "epoch",
    ),
    "step by step": (
        ["scheduler=step", "scheduler.step_size=3", "scheduler.interval=step"],
        lambda of: lr_scheduler.StepLR(of, 3, 0.1),
        "step",
    ),
    "cosine": (["scheduler=cosine"], lambda of: lr_scheduler.CosineAnnealingLR(of, EPOCHS), "epoch"),
    "cosine by step": (
        ["scheduler=cosine", "scheduler.interval=step"],
        lambda of: lr_scheduler.CosineAnnealingLR(of, EPOCHS * STEPS),
        "step",
    ),
    "one_cycle": (
        ["scheduler=one_cycle"],
        lambda of: lr_scheduler.OneCycleLR(of, LR, total_steps=EPOCHS * STEPS, cycle_momentum=False),
        "step",
    ),
    "warmup_cosine": (["scheduler=warmup_cosine"], warmup_cosine, "step"),
    "sequential": (
        [f"scheduler={{_target_: {PREFIX}SequentialLR, _partial_: true, {SPLIT}, {PARTS}}}"],
        sequential,
        "step",
    ),
    "chained": (
        [f"scheduler={{_target_: {PREFIX}ChainedScheduler, _partial_: true, {PARTS}, interval: step}}"],
        chained,
        "step",
    ),
}


def by_hand(make: Callable[[Any], LRScheduler], interval: str) -> list[float]:
    """The learning rates of a loop written by hand."""
    of = optimizer()
    scheduler = make(of)
    found = []
    for _ in range(EPOCHS):
        for _ in range(STEPS):
            found.append(of.param_groups[0]["lr"])
            of.step()
            if interval == "step":
                scheduler.step()
        if interval == "epoch":
            scheduler.step()
    return found


@pytest.mark.parametrize("case", CASES)
def test_learning_rates_equal_torchs_at_each_step(case: str, rates: list[float]) -> None:
    overrides, make, interval = CASES[case]
    train([*RUN, *overrides])
    assert rates == by_hand(make, interval)
    assert len(set(rates)) > 1


@pytest.mark.parametrize("case", CASES)
def test_learning_rates_of_a_resumed_run(
    case: str, rates: list[float], monkeypatch: pytest.MonkeyPatch, differences: Callable[[Path, Path], list[str]]
) -> None:
    overrides, make, interval = CASES[case]

    def stop_in_the_second_epoch(_: Any, trainer: pl.Trainer, *__: Any) -> None:
        if trainer.global_step == 8:
            raise RuntimeError

    command = [*RUN, *overrides, "callbacks.last.every_n_steps=4"]
    with monkeypatch.context() as patch:
        patch.setattr(ParameterError, "on_train_batch_start", stop_in_the_second_epoch)
        with pytest.raises(RuntimeError):
            train([*command, "hydra.run.dir=run"])
    del rates[8:]
    train(["resume=run"])
    assert rates == by_hand(make, interval)
    assert not differences(train(command).directory, Path("run").absolute())


@pytest.mark.parametrize("every", [1, 2])
def test_plateau_reduces_the_rate_after_validations_without_improvement(every: int, rates: list[float]) -> None:
    never_improves = ["+scheduler.threshold=1e9", "+scheduler.threshold_mode=abs"]
    plateau = ["scheduler=plateau", "scheduler.patience=0", *never_improves]
    epochs = 4 * every
    train([*RUN, *plateau, f"trainer.max_epochs={epochs}", f"+trainer.check_val_every_n_epoch={every}"])
    of = optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(of, "min", 0.1, 0, threshold=1e9, threshold_mode="abs")
    expected = []
    for epoch in range(epochs):
        expected += [of.param_groups[0]["lr"]] * STEPS
        if (epoch + 1) % every == 0:
            scheduler.step(1.0)
    assert rates == expected
    assert len(set(rates)) > 2


@pytest.mark.parametrize(("model", "mode"), [("linear_regression", "min"), ("mlp", "max")])
def test_plateau_has_the_mode_of_its_metric(model: str, mode: str) -> None:
    task, _ = instantiate_all(
        compose_resolved(f"model={model}", "data=garments" if mode == "max" else "seed=0", "scheduler=plateau")
    )
    configured = task.configure_optimizers()["lr_scheduler"]
    assert configured["scheduler"].mode == mode
    assert configured["monitor"] == ("val/acc" if mode == "max" else "val/loss")


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONFIG_DIR / "scheduler").glob("*.yaml")))
@pytest.mark.parametrize("limit", [["trainer.max_epochs=1"], ["trainer.max_epochs=null", "+trainer.max_steps=2"]])
def test_every_scheduler_trains_for_any_length(name: str, limit: list[str]) -> None:
    assert train([*RUN, f"scheduler={name}", *limit]).result["steps"] in (2, 5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["scheduler=step", "scheduler.interval=batch"], r"scheduler.interval=batch: must be epoch or step"),
        (["scheduler=plateau", "scheduler.monitor=val/f1"], r"scheduler.monitor=val/f1: unknown"),
        (["scheduler=plateau", "scheduler.monitor=null"], r"ReduceLROnPlateau needs interval=epoch and monitor"),
        (["scheduler=plateau", "scheduler.interval=step"], r"ReduceLROnPlateau needs interval=epoch and monitor"),
        (["scheduler=step", "scheduler.step_size=null"], r"scheduler.step_size"),
        (["scheduler=cosine", "scheduler.T_max=many"], r"scheduler.T_max=many: must be an integer"),
        (
            ["scheduler=one_cycle", "trainer.max_epochs=null", "+trainer.max_time=00:00:00:05"],
            r"scheduler.total_steps: set it, or limit trainer.max_epochs or trainer.max_steps",
        ),
    ],
)
def test_mistakes_are_reported_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        train([*RUN, *overrides])
    assert "\n" not in str(error.value)


def test_a_schedule_cannot_be_extended() -> None:
    run = train([*RUN, "scheduler=one_cycle"]).directory
    with pytest.raises(RunError, match=r"schedule spans 20 steps, but training now takes 30; resume with"):
        train([f"resume={run}", "trainer.max_epochs=6"])
    run = train([*RUN, "scheduler=step"]).directory
    assert train([f"resume={run}", "trainer.max_epochs=6"]).result["epochs"] == 6
