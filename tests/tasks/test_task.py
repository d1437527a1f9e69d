"""Tasks compared with torch's optimizer, manual computations, and a plain training loop."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dive.data import SyntheticRegression
from dive.data.batch_sampler import ResumableBatchSampler
from dive.data.tensor_dataset import TensorDataset
from dive.loggers import MetricsHistoryLogger
from dive.models import MLP, LinearRegression, LinearRegressionScratch, SoftmaxRegression
from dive.tasks.losses import squared_loss
from dive.tasks.optim import SGD, split_weight_decay_params
from dive.tasks.task import ClassificationTask, RegressionTask, Task
from dive.training import instantiate
from dive.training.trainer import Trainer

LINEAR = ("model=linear_regression", "data.num_train=100", "data.num_val=50")
GARMENTS = (
    "model=softmax_regression",
    "data=garments",
    "data.num_train=120",
    "data.num_test=30",
    "data.val_size=40",
    "data.batch_size=32",
    "trainer.max_epochs=3",
)


def regression(model: nn.Module, **settings: Any) -> RegressionTask:
    return RegressionTask(
        model, **{"loss": nn.MSELoss(), "optimizer": partial(torch.optim.SGD, lr=0.03), **settings}
    )


def small_data() -> SyntheticRegression:
    """Neither split size is divisible by the batch size."""
    return SyntheticRegression(w=[2.0, -3.4], b=4.2, noise=0.1, num_train=10, num_val=7, batch_size=4)


def plain_trainer(folder: Path, epochs: int) -> Trainer:
    """A trainer without callbacks."""
    return Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def plain_loop(
    model: nn.Module, loss: Callable[..., Tensor], lr: float, train: TensorDataset, batch_size: int, epochs: int
) -> list[Tensor]:
    """The weights after a plain training loop over the same batches."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    order = ResumableBatchSampler(len(train), batch_size, training=True, seed=0)
    for epoch in range(epochs):
        order.set_epoch(epoch)
        for rows in order:
            optimizer.zero_grad()
            loss(model(train.inputs[rows]), train.targets[rows]).backward()
            optimizer.step()
    return [p.detach() for p in model.parameters()]


def weights_after_step(task: Task, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The weights after one training step."""
    optimizer = task.configure_optimizers()["optimizer"]
    task.training_step(batch, 0).backward()
    optimizer.step()
    return [p.detach() for p in task.model.parameters()]


@pytest.mark.parametrize("targets", [(5,), (5, 2), (1, 1)])
def test_regression_rejects_targets_of_another_shape_than_the_outputs(targets: tuple[int, ...]) -> None:
    def broadcasting(y_hat: Tensor, y: Tensor) -> Tensor:
        return (y_hat - y).square().mean()

    task = regression(LinearRegression(3), loss=broadcasting)
    with pytest.raises(ValueError, match=r"got \(5, 1\)"):
        task.training_step((torch.zeros(5, 3), torch.zeros(targets)), 0)


@pytest.mark.parametrize("targets", [(5, 1), (4,)])
def test_classification_requires_one_target_class_per_example(targets: tuple[int, ...]) -> None:
    task = ClassificationTask(SoftmaxRegression(3, 4), loss=lambda logits, _: logits.sum(), optimizer=SGD)
    with pytest.raises(ValueError, match=r"targets \(batch,\), got \(5, 4\)"):
        task.validation_step((torch.zeros(5, 3), torch.zeros(targets, dtype=torch.int64)), 0)


def test_classification_requires_one_output_per_class() -> None:
    task = ClassificationTask(nn.Flatten(0), loss=lambda logits, _: logits.sum(), optimizer=SGD)
    with pytest.raises(ValueError, match=r"outputs must be \(batch, num_classes\)"):
        task.test_step((torch.zeros(5, 3), torch.zeros(15, dtype=torch.int64)), 0)


def test_forward_runs_the_model() -> None:
    model, X = LinearRegression(3), torch.ones(5, 3)
    assert torch.equal(regression(model)(X), model(X))


def test_weight_decay_applies_to_matrices_but_not_to_biases_and_slopes() -> None:
    model = MLP(6, 4, num_hiddens=[5], activation="prelu")
    weights, biases = split_weight_decay_params(model.parameters())
    _, first, slope, last = model.net
    assert [id(p) for p in weights] == [id(first.weight), id(last.weight)]
    assert [id(p) for p in biases] == [id(first.bias), id(slope.weight), id(last.bias)]


def test_weight_decay_in_the_loss_equals_weight_decay_in_torch_s_optimizer() -> None:
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(8, 3, generator=generator), torch.randn(8, 1, generator=generator)
    torch.manual_seed(1)
    scratch, concise = LinearRegressionScratch(3, sigma=1.0), LinearRegression(3)
    nn.init.constant_(scratch.b, 5.0)
    w, b = scratch.coefficients()
    concise.load_state_dict({"net.weight": w.T, "net.bias": b})
    w, b = w.clone(), b.clone()

    decay, lr = 3.0, 0.1
    in_loss = regression(scratch, loss=squared_loss, optimizer=partial(SGD, lr=lr), weight_decay=decay)
    in_optimizer = regression(
        concise, loss=squared_loss, optimizer=partial(torch.optim.SGD, lr=lr, weight_decay=decay)
    )
    next_w, next_b = weights_after_step(in_loss, (X, y))
    other_w, other_b = weights_after_step(in_optimizer, (X, y))

    residual = X @ w + b - y
    torch.testing.assert_close(next_w, w - lr * (X.T @ residual / 8 + decay * w), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(next_b, b - lr * residual.mean(0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(next_w.T, other_w, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(next_b, other_b, rtol=1e-6, atol=1e-6)


def test_weight_penalty_is_in_the_training_loss_but_not_in_the_logged_loss() -> None:
    torch.manual_seed(0)
    model = LinearRegressionScratch(2, sigma=1.0)
    task = regression(model, loss=squared_loss, weight_decay=3.0)
    X, y = torch.randn(5, 2), torch.randn(5, 1)
    plain = squared_loss(model(X), y).item()
    training_loss = task.training_step((X, y), 0).item()
    assert task.means["train"].compute()["loss"].item() == pytest.approx(plain)
    assert training_loss == pytest.approx(plain + 3 * model.w.square().sum().item() / 2)


def test_logged_means_are_over_examples_with_a_smaller_last_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data, model = small_data(), LinearRegression(2)
    twin = LinearRegression(2)
    twin.load_state_dict(model.state_dict())
    trainer = plain_trainer(tmp_path, epochs=2)
    trainer.fit(regression(model, loss=squared_loss), data)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}

    train, val, _ = data.splits
    plain_loop(twin, squared_loss, 0.03, train, 4, epochs=1)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.03)
    order = ResumableBatchSampler(10, 4, training=True)
    order.set_epoch(1)
    errors: list[float] = []
    for rows in order:
        optimizer.zero_grad()
        y_hat, y = twin(train.inputs[rows]), train.targets[rows]
        errors += (y_hat - y).square().flatten().tolist()
        squared_loss(y_hat, y).backward()
        optimizer.step()
    assert len(errors) == 10
    val_errors = (twin(val.inputs) - val.targets).square()
    assert logged == {
        "train/loss": pytest.approx(sum(errors) / 20),
        "train/mse": pytest.approx(sum(errors) / 10),
        "val/loss": pytest.approx(val_errors.mean().item() / 2),
        "val/mse": pytest.approx(val_errors.mean().item()),
    }


def test_linear_regression_equals_a_plain_loop_bit_for_bit(
    fit: Callable[..., Any],
) -> None:
    fitted = fit(*LINEAR)
    pl.seed_everything(0, verbose=False)
    train = instantiate.instantiate_datamodule(fitted.settings).splits.train
    weights = plain_loop(LinearRegression(2), F.mse_loss, 0.03, train, 32, epochs=3)
    assert fitted.trainer.global_step == 3 * 4
    assert all(torch.equal(p, q) for p, q in zip(fitted.task.model.parameters(), weights, strict=True))


def test_softmax_regression_equals_a_plain_loop_bit_for_bit(
    fit: Callable[..., Any],
) -> None:
    fitted = fit(*GARMENTS)
    data = instantiate.instantiate_datamodule(fitted.settings)
    pl.seed_everything(0, verbose=False)
    model = SoftmaxRegression(784, 10)
    weights = plain_loop(model, F.cross_entropy, 0.1, data.splits.train, 32, epochs=3)
    assert fitted.trainer.global_step == 3 * 3
    assert all(torch.equal(p, q) for p, q in zip(fitted.task.model.parameters(), weights, strict=True))

    for split, metrics in (
        ("val", fitted.trainer.callback_metrics),
        ("test", fitted.trainer.test(fitted.task, data, verbose=False)[0]),
    ):
        examples = getattr(data.splits, split)
        logits = model(examples.inputs)
        correct = (logits.argmax(1) == examples.targets).sum().item()
        assert 0 < correct < len(examples)
        assert float(metrics[f"{split}/acc"]) == pytest.approx(correct / len(examples))
        assert float(metrics[f"{split}/loss"]) == pytest.approx(F.cross_entropy(logits, examples.targets).item())


def test_same_fit_twice_is_equal_bit_for_bit(fit: Callable[..., Any]) -> None:
    small = (*GARMENTS, "model=mlp", "model.num_hiddens=[8]", "model.dropout=0.5", "data.num_train=60")
    first, second = fit(*small), fit(*small)
    states = first.task.state_dict(), second.task.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    metrics = [
        {name: value.item() for name, value in run.trainer.callback_metrics.items() if "per_second" not in name}
        for run in (first, second)
    ]
    assert "val/acc" in metrics[0]
    assert metrics[0] == metrics[1]


def test_gradients_are_copied_before_validation_if_it_may_overwrite_them(monkeypatch: pytest.MonkeyPatch) -> None:
    task = regression(nn.Linear(2, 1))
    task.model.weight.grad = gradient = torch.ones(1, 2)
    task.on_validation_model_zero_grad()
    assert task.model.weight.grad is gradient
    monkeypatch.setattr("dive.tasks.task.may_reuse_outputs", lambda _: True)  # as with CUDA graphs
    task.on_validation_model_zero_grad()
    gradient.zero_()
    assert torch.equal(task.model.weight.grad, torch.ones(1, 2))
    assert task.model.bias.grad is None


def test_different_seeds_give_different_weights(tmp_path: Path) -> None:
    weights = []
    for seed in (0, 1):
        pl.seed_everything(0, verbose=False)
        task, data = regression(LinearRegression(2)), small_data()
        data.seed = seed
        plain_trainer(tmp_path, epochs=1).fit(task, data)
        weights.append(task.model.net.weight.detach())
    assert not torch.equal(*weights)


def test_scheduler_steps_once_per_epoch(fit: Callable[..., Any]) -> None:
    fitted = fit(*LINEAR, "scheduler=step", "scheduler.step_size=1", "scheduler.gamma=0.5")
    history = next(logger for logger in fitted.trainer.loggers if isinstance(logger, MetricsHistoryLogger))
    rates = [row["lr"] for _, row in sorted(history.rows.items()) if "lr" in row]
    assert rates == pytest.approx([0.03, 0.015, 0.0075])
    groups = fitted.trainer.optimizers[0].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([0.00375, 0.00375])


def test_weight_decay_of_the_optimizer_excludes_biases() -> None:
    model = MLP(6, 4, num_hiddens=[5])
    task = ClassificationTask(
        model, loss=nn.CrossEntropyLoss(), optimizer=partial(torch.optim.SGD, lr=0.1, weight_decay=0.2)
    )
    decays = {
        id(p): group["weight_decay"]
        for group in task.configure_optimizers()["optimizer"].param_groups
        for p in group["params"]
    }
    assert decays == {id(p): 0.2 if p.ndim > 1 else 0.0 for p in model.parameters()}
