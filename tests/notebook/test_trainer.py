"""The notebook trainer reaches the same weights as Lightning for every model."""

from pathlib import Path

import pytest
import torch
from tests.short_runs import fit_config, instantiate_all
from torch import nn

from dive.config.compose import compose_resolved
from dive.config.groups import CONFIG_DIR
from dive.notebook import ProgressBoard, Trainer
from dive.notebook.trainer import clip_gradients
from dive.runs.record import Config
from dive.tasks.task import Task

MODELS = sorted(path.stem for path in (CONFIG_DIR / "model").glob("*.yaml"))
SMALL = ("data=garments", "data.num_train=288", "data.num_test=64", "data.val_size=64", "data.batch_size=32")
EPOCHS = 2
VARIANTS = (
    ("model=mlp", "model.dropout=0.3", "model.num_hiddens=[32,16]", "callbacks=default"),  # draws images
    ("model=mlp", "optimizer=adamw", "scheduler=cosine"),
    (
        "model=mlp",
        "optimizer.momentum=0.9",
        "optimizer.weight_decay=0.01",
        "scheduler=step",
        "scheduler.step_size=1",
    ),
    ("model=mlp", "task.weight_decay=0.1"),
    ("model=mlp", "scheduler=one_cycle"),
    ("model=mlp", "scheduler=plateau", "scheduler.patience=0", "+scheduler.threshold=1.0"),
)


def compose_small(*overrides: str) -> Config:
    """Compose a short run, on few images if the model classifies."""
    callbacks = () if "callbacks=default" in overrides else ("callbacks=lean",)
    config = compose_resolved(*overrides, *callbacks, "trainer=cpu", f"trainer.max_epochs={EPOCHS}")
    if "classification" in config["task"]["_target_"].lower():
        config["data"] = compose_resolved(*SMALL)["data"]
    return config


def fit_in_notebook(config: Config) -> tuple[Task, Trainer]:
    """Train with the notebook trainer."""
    task, data = instantiate_all(config)
    trainer = Trainer(max_epochs=EPOCHS, gradient_clip_val=config["trainer"]["gradient_clip_val"])
    trainer.fit(task, data)
    return task, trainer


@pytest.mark.parametrize("overrides", [*((f"model={name}",) for name in MODELS), *VARIANTS], ids=",".join)
def test_weights_and_metrics_equal_lightning_bit_for_bit(overrides: tuple[str, ...], tmp_path: Path) -> None:
    config = compose_small(*overrides)
    ours, trainer = fit_in_notebook(config)
    theirs, lightning, _ = fit_config(config, tmp_path)
    weights = ours.state_dict()
    assert weights.keys() == theirs.state_dict().keys()
    for name, weight in theirs.state_dict().items():
        assert torch.equal(weights[name], weight), name
    assert len(trainer.history) == EPOCHS
    for name, value in trainer.history[-1].items():
        assert value == float(lightning.callback_metrics[name]), name


def test_weights_with_clipping_are_close_to_lightning(tmp_path: Path) -> None:
    """Not bit for bit, because torch divides by the norm plus 1e-6."""
    config = compose_small("model=mlp")
    unclipped, _ = fit_in_notebook(config)
    config["trainer"]["gradient_clip_val"] = 0.5
    ours, _ = fit_in_notebook(config)
    theirs, _, _ = fit_config(config, tmp_path)
    for name, weight in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], weight, rtol=1e-6, atol=1e-6)
        assert not torch.allclose(unclipped.state_dict()[name], weight, rtol=1e-3, atol=1e-4)  # clipping matters


@pytest.mark.parametrize("max_norm", [0.1, 1e6])
def test_clip_gradients_matches_torch(max_norm: float) -> None:
    torch.manual_seed(0)
    params = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(2))]
    for param in params[:2]:
        param.grad = torch.randn_like(param)
    copies = [nn.Parameter(param.detach().clone()) for param in params]
    for copy, param in zip(copies[:2], params[:2], strict=True):
        copy.grad = param.grad.clone()  # type: ignore[union-attr]  # set above
    norm = clip_gradients(params, max_norm)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(copies, max_norm))
    for copy, param in zip(copies[:2], params[:2], strict=True):
        torch.testing.assert_close(param.grad, copy.grad, rtol=1e-5, atol=0)


def test_board_plots_each_metric_once_per_epoch(tmp_path: Path) -> None:
    task, data = instantiate_all(compose_small("model=linear_regression"))
    board = ProgressBoard(file=tmp_path / "board.svg")
    trainer = Trainer(max_epochs=EPOCHS, board=board)
    trainer.fit(task, data)
    assert board.curves.keys() == trainer.history[0].keys()
    assert board.curves["val/loss"] == [(i + 1, row["val/loss"]) for i, row in enumerate(trainer.history)]
    assert board.file.exists()


def test_invalid_arguments_are_rejected() -> None:
    for invalid in (0, 1.5, "3"):
        with pytest.raises(ValueError, match=f"max_epochs must be an integer of at least 1, got {invalid!r}"):
            Trainer(max_epochs=invalid)  # type: ignore[arg-type]  # that is what is tested
    with pytest.raises(ValueError, match="gradient_clip_val must be above 0, got 0"):
        Trainer(max_epochs=1, gradient_clip_val=0)
